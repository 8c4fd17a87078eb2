"""Settings and the one error a person sees when they are wrong."""

from __future__ import annotations


class ConfigError(Exception):
    """A wrong setting, argument or mapping: the message says what, where (file:key) and what to do. Ends a command with exit code 2."""
