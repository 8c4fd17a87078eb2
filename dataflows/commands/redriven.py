"""What has been sent again already: a note beside each dead-letter partition, so that no letter is sent twice."""

from __future__ import annotations

import fcntl
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from dataflows.commands.letters import Letter
from state.settings import ConfigError


class Offsets:
    """A set of offsets, kept as ranges: letters are mostly sent in long runs.

    >>> offsets = Offsets([[0, 2]])
    >>> offsets.add(3); offsets.add(7)
    >>> 3 in offsets, 4 in offsets, offsets.ranges
    (True, False, [[0, 3], [7, 7]])
    """

    def __init__(self, ranges: list[list[int]]) -> None:
        self.ranges = ranges
        """Sorted [first, last] pairs that neither overlap nor touch."""

    def __contains__(self, offset: int) -> bool:
        i = bisect_right(self.ranges, offset, key=lambda each: each[0])
        return i > 0 and offset <= self.ranges[i - 1][1]

    def add(self, offset: int) -> None:
        if offset in self:
            return
        i = bisect_right(self.ranges, offset, key=lambda each: each[0])
        first = last = offset
        if i < len(self.ranges) and self.ranges[i][0] == offset + 1:
            last = self.ranges.pop(i)[1]
        if i > 0 and self.ranges[i - 1][1] == offset - 1:
            i -= 1
            first = self.ranges.pop(i)[0]
        self.ranges.insert(i, [first, last])


class Redriven:
    """The notes below a folder: `<dead-letter topic>/<partition>.redriven`, each {"sent": [[first, last], …]} in offsets."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[str, int], Offsets] = {}

    def __contains__(self, letter: Letter) -> bool:
        topic, partition, offset = letter.place
        return offset in self._offsets(topic, partition)

    def add(self, letters: Iterable[Letter]) -> None:
        """Notes letters as sent. Each file is replaced atomically and is on the disk when this returns."""
        changed = set()
        for letter in letters:
            topic, partition, offset = letter.place
            self._offsets(topic, partition).add(offset)
            changed.add((topic, partition))
        for topic, partition in changed:
            path = self._path(topic, partition)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(".redriven.new")
            with draft.open("wb") as file:
                file.write(msgspec.json.encode({"sent": self._known[topic, partition].ranges}))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)

    def _path(self, topic: str, partition: int) -> Path:
        return self._folder / topic / f"{partition}.redriven"

    def _offsets(self, topic: str, partition: int) -> Offsets:
        known = self._known.get((topic, partition))
        if known is None:
            known = self._known[topic, partition] = Offsets(_ranges(self._path(topic, partition)))
        return known

    @contextmanager
    def held(self) -> Iterator[None]:
        """While inside, no other redrive works with these notes. Raises ConfigError if one does."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "redrive.lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"{self._folder}: another redrive is at work here; wait until it has ended"
                ) from error
            yield


def _ranges(path: Path) -> list[list[int]]:
    try:
        note = msgspec.json.decode(path.read_bytes(), type=dict[str, list[tuple[int, int]]])
        return [list(each) for each in sorted(note["sent"])]
    except FileNotFoundError:
        return []
    except (
        ValueError,
        KeyError,
    ) as error:  # msgspec's errors are ValueErrors; of bytes that are no UTF-8 it lets Python's own out
        raise ConfigError(
            f"{path}: is damaged ({error}); remove it to begin anew: letters may then be sent twice, which the engine "
            "recognises as duplicates"
        ) from error
