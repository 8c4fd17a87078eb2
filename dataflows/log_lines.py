"""What a worker tells on standard error: one JSON object a line, or on a terminal a readable line.

    {"time":"2025-05-01T10:00:00.000000Z","level":"info","event":"started","logger":"segone.run","process":0,"version":"1.0.0",…}

Levels: `error`, this process ends or an output suffers; `warning`, something was mended and may need a look; `info`, the life of the
process; `debug`, for its makers. Nothing here names a customer, and no message of an unforeseen error is told: it might.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import orjson
import structlog

from state.settings import LogsSettings, Settings
from state.settings_reading import load_settings
from state.settings_shown import changed, shown

FIRST_KEYS = ("time", "level", "event", "logger")


def configure(settings: LogsSettings, process: int | None = None) -> None:
    """Sends everything that is logged, librdkafka's lines too, to standard error. `process` is this one's number in a cluster."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
    shared: list[structlog.types.Processor] = [structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, stamp]
    if process is not None:
        shared.insert(0, _numbered(process))
    renderer: Any = (
        structlog.dev.ConsoleRenderer(timestamp_key="time", colors=sys.stderr.isatty())
        if readable(settings)
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=settings.level.upper(), force=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def tell_start(settings: Settings, processes: int = 1) -> None:
    """One line with the settings that count: all of them, or for a person those that differ from the defaults."""
    config = changed(settings, load_settings(environment={})) if readable(settings.logs) else shown(settings)
    structlog.get_logger("segone.run").info(
        "started",
        version=version("segone"),
        pid=os.getpid(),
        processes=processes,
        digest=settings.digest(),
        config=config,
    )


def readable(settings: LogsSettings) -> bool:
    """Whether lines are for a person."""
    return settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())


def where(error: BaseException) -> str:
    """The places an error came through, innermost first, and the kinds of the errors on the way; never their messages.

    >>> try:
    ...     {}["c-17"]
    ... except KeyError as error:
    ...     print(where(error).partition(" ")[0])
    KeyError
    """
    told = []
    one: BaseException | None = error
    while one is not None:
        frames = traceback.extract_tb(one.__traceback__)
        places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
        told.append(f"{type(one).__name__} at {places}")
        one = one.__cause__
    return "; in ".join(reversed(told))


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at the time: a command may be called more than once in one process."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _numbered(process: int) -> Any:
    def add(_logger: Any, _method: str, line: dict[str, Any]) -> dict[str, Any]:
        return {"process": process, **line}

    return add


def _json(line: dict[str, Any], **_: Any) -> str:
    first = {key: line[key] for key in FIRST_KEYS if key in line}
    return orjson.dumps(first | line, default=str).decode()
