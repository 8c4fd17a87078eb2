"""Records that crashed a worker: noted in the state folder, so that after the restart they become dead letters.

Such a crash is a bug of ours (values were checked when the record was decoded), yet the same record must not stop the bank twice:
the note is durable before the worker ends, and the state it left behind is that of the last checkpoint, without the record.
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from operators.decode import Rejection
from state.events import Event

Position = tuple[str, int, int]
"""Topic, partition, offset."""

CODE = "internal.error"


class Poisoned(Exception):
    """A record that the engine could not apply; it is in quarantine now."""


class Quarantine:
    """The positions noted in `<state folder>/quarantine.jsonl`."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "quarantine.jsonl"
        self._errors: dict[Position, str] = {}
        if self._path.exists():
            for line in self._path.read_bytes().splitlines():
                try:
                    note = orjson.loads(line)
                except orjson.JSONDecodeError:
                    continue  # a note torn by a crash of the machine: its record will make another
                self._errors[note["topic"], note["partition"], note["offset"]] = note["error"]

    def __bool__(self) -> bool:
        return bool(self._errors)

    def rejection(self, position: Position) -> Rejection | None:
        """Why the record there is a dead letter, or None."""
        error = self._errors.get(position)
        return (
            None if error is None else Rejection(CODE, "$", f"applying this record failed ({error}): please report it")
        )

    def add(self, event: Event, error: Exception) -> Poisoned:
        """Notes the record durably; returns the exception to end the worker with."""
        position = (event.TOPIC, event.partition, event.offset)
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f" at {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place is not None else ""
        text = f"{type(error).__name__}{where}"
        note = {"topic": position[0], "partition": position[1], "offset": position[2], "error": text}
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            length = os.fstat(file).st_size
            is_torn = length and os.pread(file, 1, length - 1) != b"\n"
            os.write(file, (b"\n" if is_torn else b"") + orjson.dumps(note) + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        return Poisoned(
            f"the record at {position[0]}/{position[1]}/{position[2]} could not be applied ({text}); it is noted in {self._path} "
            "and will be a dead letter after the restart: start the worker again, and report the error"
        )
