"""The live page: a process of its own that only reads what workers publish, and shows it to browsers."""
