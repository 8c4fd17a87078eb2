"""The flags that `segone run`, `check` and `init` share, and the settings that they make."""

from __future__ import annotations

import argparse
from pathlib import Path

from dataflows.loading import load_checked
from state.settings import Settings


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """--config, --input, --output, --state."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML, over config/default.toml")
    parser.add_argument("--input", metavar="DIR", help="embedded log to read: <topic>/<partition>.jsonl ([log] input)")
    parser.add_argument("--output", metavar="DIR", help="embedded log to write ([log] output)")
    parser.add_argument(
        "--state", metavar="DIR", help="state folder ([state] dir); by default .segone in the output folder"
    )


def settings_of(args: argparse.Namespace) -> Settings:
    """The effective settings. --follow, where a command has it, is `[log] follow`. Raises ConfigError."""
    log = {key: value for key in ("input", "output", "follow") if (value := getattr(args, key, None)) is not None}
    state = {"dir": args.state} if args.state is not None else {}
    return load_checked(args.config, {"log": log, "state": state})
