"""What `segone` can do, one file a command."""
