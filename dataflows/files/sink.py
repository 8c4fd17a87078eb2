"""The embedded log as a sink: what is committed stays, what lies beyond after a crash is cut off at the next start.

`<partition>.committed` beside each file holds the length that readers may trust. It moves on when the engine has committed the epoch
(seen by the first source item of a later one), so a resume never goes back behind what a reader has seen.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import orjson
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.batches import OutputBatch
from operators.dead_letter import as_file_line
from operators.encode import OUTPUT_TOPICS
from state.committed import DamagedNoteError, committed_length, note_of
from state.events import TOPICS
from state.records import Output
from state.redo_log import sync_folder
from state.settings import ConfigError

ALL_TOPICS = (*OUTPUT_TOPICS, *(f"{topic}.dlq" for topic in TOPICS))


class OutputFailed(Exception):
    """The output can't be written (disk full, no permission): the worker ends, and goes on from its last checkpoint when it can."""


def as_line(output: Output) -> bytes:
    """The file form of a message: its value, or for a dead letter the record that describes it."""
    if output.value is None:
        return deletion_line(output.key)
    return as_file_line(output) if output.topic.endswith(".dlq") else output.value


def deletion_line(key: bytes) -> bytes:
    """What stands in a file for a tombstone, which is a key without a value."""
    return orjson.dumps({"customer_id": key.decode("utf-8", "surrogatepass"), "deleted": True})


class FileSinkPartition(StatefulSinkPartition[OutputBatch, bytes]):
    """One partition of all output topics. Its state is {topic: committed length in bytes}."""

    def __init__(self, folder: Path, partition: int, resume: bytes | None, power_safe: bool) -> None:
        self._folder = folder
        self._partition = partition
        self._power_safe = power_safe
        self._files: dict[str, int] = {}
        self.lengths: dict[str, int] = {}
        """Length of each file, what was written but not committed included."""
        self.covered: dict[str, int] = orjson.loads(resume) if resume is not None else {}
        """Lengths at the last snapshot."""
        self._published: dict[str, int] = {}
        """What is noted as committed beside each file, as far as this process has noted it."""
        self._unproven = False
        for topic in ALL_TOPICS:
            path = self._path(topic)
            if path.exists():
                if resume is None and holds_output(path):
                    raise OutputFailed(
                        f"{path}: holds output of an earlier run whose state is not this one: name that run's state ([state] dir, "
                        "--state), or choose an empty output folder"
                    )
                length = self.covered.get(topic, 0) if resume is not None else read_committed(path)
                if path.stat().st_size < length:
                    raise OutputFailed(
                        f"{path}: is shorter than what was committed ({length} bytes); restore it from a copy, or begin anew"
                    )
                if length < (shown := read_committed(path)):
                    raise OutputFailed(
                        f"{path}: readers have been shown {shown} bytes, the recovery folder knows of {length} only; they are not of "
                        "the same moment: restore state and output folder from the same backup, or begin anew with new ones"
                    )
                os.truncate(path, length)
                self.lengths[topic] = length
                write_committed(path, length)
            elif self.covered.get(topic, 0):
                raise OutputFailed(
                    f"{path}: is gone, and {self.covered[topic]} bytes of it were committed; restore it from a copy, or begin anew "
                    "with a new output and state folder"
                )

    def write_batch(self, items: list[OutputBatch]) -> None:
        by_topic: dict[str, list[bytes]] = {}
        for batch in items:
            if batch.proof and self._unproven:
                self._unproven = False
                self.publish()
            for output in batch.outputs:
                by_topic.setdefault(output.topic, []).append(as_line(output))
        for topic, lines in by_topic.items():
            self._append(topic, b"\n".join(lines) + b"\n")

    def _append(self, topic: str, data: bytes) -> None:
        path = self._path(topic)
        try:
            if topic not in self._files:
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    write_committed(path, 0)
                self._files[topic] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                if self._power_safe:  # a file that is synced may still lack its name after a power failure
                    sync_folder(path.parent)
                    sync_folder(self._folder)
            view = memoryview(data)
            while view:
                view = view[os.write(self._files[topic], view) :]
        except OSError as error:
            raise OutputFailed(
                f"{path}: cannot be written ({error.strerror}); free space or mend permissions, then start again"
            ) from error
        self.lengths[topic] = self.lengths.get(topic, 0) + len(data)

    def snapshot(self) -> bytes:
        if self._power_safe:
            for file in self._files.values():
                os.fsync(file)
        self.covered = dict(self.lengths)
        self._unproven = True
        return orjson.dumps(self.covered)

    def publish(self) -> None:
        """Lets readers see everything up to the last snapshot."""
        for topic, length in self.covered.items():
            if self._published.get(topic) != length:
                write_committed(self._path(topic), length)
                self._published[topic] = length

    def finish(self) -> None:
        """After a clean end: nothing lies beyond what is committed."""
        for topic, length in self.lengths.items():
            os.truncate(self._path(topic), self.covered.get(topic, 0))
            self.lengths[topic] = self.covered.get(topic, length)
        self.publish()

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def _path(self, topic: str) -> Path:
        return self._folder / topic / f"{self._partition}.jsonl"


class FileOutput(FixedPartitionedSink[OutputBatch, bytes]):
    """All partitions of an output folder; `parts` are those that this process writes."""

    def __init__(self, folder: Path, partitions: int, power_safe: bool = False) -> None:
        self._folder = folder
        self.partitions = partitions
        self._power_safe = power_safe
        self.parts: list[FileSinkPartition] = []

    def list_parts(self) -> list[str]:
        """Padded, since the engine numbers partitions in the order of their names."""
        return [f"{partition:04d}" for partition in range(self.partitions)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> FileSinkPartition:
        part = FileSinkPartition(self._folder, int(for_part), resume_state, self._power_safe)
        self.parts.append(part)
        return part


def read_committed(path: Path) -> int:
    """The committed length of an output file: 0 where none is noted, or the note is damaged."""
    try:
        return committed_length(path) or 0
    except DamagedNoteError:
        return 0


def holds_output(path: Path) -> bool:
    """Whether readers may have seen something of an output file. A worker notes 0 bytes before it makes a file, so one without a note
    is somebody else's, and counts as a whole; so does one whose note is damaged."""
    with suppress(DamagedNoteError):
        if committed_length(path) == 0:
            return False
    return path.is_file() and path.stat().st_size > 0


def require_unused_output(output: Path, state_dir: Path) -> None:
    """What a new state asks of its output folder. Raises ConfigError."""
    if any(holds_output(path) for topic in ALL_TOPICS for path in (output / topic).glob("*.jsonl")):
        raise ConfigError(
            f"{output}: holds signals of an earlier run whose state is not in {state_dir}; "
            "name that run's state ([state] dir, --state), or choose an empty output folder"
        )


def write_committed(path: Path, length: int) -> None:
    """Replaces the note beside `path` atomically."""
    target = note_of(path)
    draft = target.with_suffix(".committed.new")
    try:
        draft.write_text(str(length))
        draft.replace(target)
    except OSError as error:
        raise OutputFailed(
            f"{target}: cannot be written ({error.strerror}); free space or mend permissions, then start again"
        ) from error
