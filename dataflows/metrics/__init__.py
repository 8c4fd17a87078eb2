"""What a worker shows to Prometheus and to whoever asks whether it lives: collector, health, endpoint."""
