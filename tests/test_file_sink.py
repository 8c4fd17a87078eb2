"""The embedded log as a sink: what was shown to readers is never taken back, and what is missing is told before anything is written."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from dataflows.batches import OutputBatch
from dataflows.files.sink import (
    FileSinkPartition,
    OutputFailed,
    read_committed,
    require_unused_output,
    write_committed,
)
from state.records import Output
from state.settings import ConfigError

LINES = b'{"n":1}\n{"n":2}\n{"n":3}\n'


def written(folder: Path, shown: int) -> Path:
    """An output file of 24 bytes of which readers have been shown some."""
    path = folder / "scores" / "0.jsonl"
    path.parent.mkdir()
    path.write_bytes(LINES)
    write_committed(path, shown)
    return path


def resumed(folder: Path, length: int | None) -> FileSinkPartition:
    """The partition as the engine's recovery knows it; None: not at all."""
    return FileSinkPartition(folder, 0, None if length is None else orjson.dumps({"scores": length}), False)


@pytest.mark.parametrize(("shown", "known", "left"), [(8, 16, 16), (16, 16, 16), (0, None, 0)])
def test_a_start_cuts_off_what_is_not_committed_and_shows_the_rest(
    tmp_path: Path, shown: int, known: int | None, left: int
) -> None:
    path = written(tmp_path, shown)
    assert resumed(tmp_path, known).lengths == {"scores": left}
    assert path.read_bytes() == LINES[:left] and read_committed(path) == left


def test_a_recovery_that_knows_less_than_readers_have_seen_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, shown=16)
    with pytest.raises(OutputFailed, match="readers have been shown 16 bytes, the recovery folder knows of 8 only"):
        resumed(tmp_path, 8)
    assert path.read_bytes() == LINES and read_committed(path) == 16


@pytest.mark.parametrize("note", ["", "abc", "9" * 5000], ids=["empty", "text", "digits"])
def test_a_new_state_cuts_nothing_off_an_output_whose_note_is_damaged(tmp_path: Path, note: str) -> None:
    path = written(tmp_path, shown=16)
    path.with_suffix(".committed").write_text(note)
    with pytest.raises(OutputFailed, match="holds output of an earlier run"):
        resumed(tmp_path, None)
    with pytest.raises(ConfigError, match="holds signals of an earlier run"):
        require_unused_output(tmp_path, tmp_path / "state")
    assert path.read_bytes() == LINES


def test_an_output_that_lost_what_was_committed_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, shown=16)
    with pytest.raises(OutputFailed, match="is shorter than what was committed \\(25 bytes\\)"):
        resumed(tmp_path, 25)
    path.unlink()
    with pytest.raises(OutputFailed, match="is gone, and 16 bytes of it were committed"):
        resumed(tmp_path, 16)


def test_a_new_file_keeps_its_name_through_a_power_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("dataflows.files.sink.sync_folder", synced.append)
    output = Output("scores", b"c-1", b"{}", b"id")
    for power_safe in (True, False):
        sink = FileSinkPartition(tmp_path, 0, None, power_safe)
        sink.write_batch([OutputBatch([output], proof=True)])
        sink.write_batch([OutputBatch([output], proof=True)])
        sink.close()
    assert synced == [tmp_path / "scores", tmp_path], "once, and only where it is asked for"
