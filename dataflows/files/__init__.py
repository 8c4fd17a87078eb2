"""The embedded log: a folder of JSON Lines, read and written."""
