"""The log in Kafka: the only place that talks to a broker."""
