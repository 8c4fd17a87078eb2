"""The input folder: what looks like events is read, or the start says that it would not be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Never

import pytest
from cli_samples import as_line, segone, transaction

from dataflows.files.partitions import count_partitions
from dataflows.files.source import InputFailed, TopicFile
from dataflows.history.lines import topic_files
from state.settings import PARTITIONS_MAX, ConfigError

LINE = as_line(transaction(1, 1)) + b"\n"


def folder(tmp_path: Path, *names: str) -> Path:
    for name in ("in.transactions/0.jsonl", *names):
        path = tmp_path / "events" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(LINE)
    return tmp_path / "events"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("in.transactions/01.jsonl", "the name is no partition number"),
        ("in.transactions/-1.jsonl", "the name is no partition number"),
        ("in.transactions/٣.jsonl", "the name is no partition number"),
        ("in.transactions/part-1.jsonl", "the name is no partition number"),
        ("in.transactions/20250304.jsonl", f"partition numbers end at {PARTITIONS_MAX - 1}"),
        ("in.transactions/1.jsonl.gz", "a worker reads plain JSON Lines only"),
        ("in.transactions/1.parquet", "a worker reads plain JSON Lines only"),
        ("in.transactions/1.JSONL", "a worker reads plain JSON Lines only; unpack or convert it"),
        ("in.transactions/day=2025-01-01/1.jsonl", "a worker reads plain JSON Lines only"),
        ("in.accounts.jsonl", "a worker reads in.accounts/<partition>.jsonl"),
        ("in.transaction/0.jsonl", "unknown topic 'in.transaction'; did you mean in.transactions"),
        ("in.zzz/0.jsonl", "unknown topic 'in.zzz'; "),
    ],
)
def test_events_that_would_not_be_read_are_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        count_partitions(folder(tmp_path, name))
    assert str(caught.value).startswith(f"{tmp_path}/events/{name.removesuffix('/0.jsonl')}: {says}")


@pytest.mark.parametrize(
    "name",
    ["1.jsonl.gz", "1.JSONL", "1.csv", "1.parquet.zst", "day=2025-01-01/1.jsonl", "day=2025-01-01/1.parquet"],
)
def test_a_replay_passes_nothing_over_either(tmp_path: Path, name: str) -> None:
    events = folder(tmp_path, f"in.transactions/{name}")
    with pytest.raises(ConfigError, match=rf"{name}: only in\.transactions/\*\.jsonl and .* are read; unpack"):
        topic_files(events)


def test_replay_is_named_as_the_way_to_read_a_file_only_where_it_is_one(tmp_path: Path) -> None:
    for number, (name, is_one) in enumerate((("1.parquet", True), ("1.jsonl.gz", False), ("a/1.parquet", False))):
        with pytest.raises(ConfigError) as caught:
            count_partitions(folder(tmp_path / str(number), f"in.transactions/{name}"))
        assert ("segone replay" in str(caught.value)) is is_one


def test_what_is_no_event_may_lie_beside(tmp_path: Path) -> None:
    beside = ("in.transactions/._0.jsonl", "in.transactions/0.jsonl.bak", "in.transactions/note.txt", "readme.md")
    events = folder(tmp_path, "in.transactions.dlq/9.jsonl", *beside)
    assert count_partitions(events) == 1
    assert [file.path.name for file in topic_files(events)] == ["0.jsonl"]


@pytest.mark.parametrize("note", [b"", b"abc", b"-5", b"\xff", "٣".encode(), b"9" * 5000], ids=range(6))
def test_a_damaged_note_of_what_is_committed_is_refused(tmp_path: Path, note: bytes) -> None:
    events = folder(tmp_path)
    (events / "in.transactions/0.committed").write_bytes(note)
    with pytest.raises(ConfigError, match=r"0\.committed: holds no length in bytes"):
        count_partitions(events)


@pytest.mark.parametrize("kind", ["pipe", "folder", "dangling link"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    events = folder(tmp_path)
    path = events / "in.transactions" / "1.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"1\.jsonl: is no regular file"):
        count_partitions(events)


def test_a_folder_that_may_not_be_looked_into_does_not_pass_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = folder(tmp_path, "in.labels/0.jsonl")

    def scandir(path: Path) -> Never:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "listdir", scandir)
    with pytest.raises(PermissionError):
        count_partitions(events)


def test_check_and_run_say_the_same(tmp_path: Path) -> None:
    events = folder(tmp_path, "in.transactions/00.jsonl")
    for command in ("check", "run"):
        done = segone(command, "--input", str(events), "--output", str(tmp_path / "out"))
        assert done.returncode == 2
        assert "00.jsonl: the name is no partition number" in " ".join((done.stdout + done.stderr).split())


def test_dead_letters_of_a_run_in_its_own_input_are_no_events(tmp_path: Path) -> None:
    events = folder(tmp_path, "in.transactions.dlq/0.jsonl")
    assert [file.path for file in topic_files(events)] == [events / "in.transactions/0.jsonl"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_file_that_is_replaced_by_a_longer_one_while_it_is_followed_is_not_read_on(
    tmp_path: Path, end: bytes
) -> None:
    """A log that was rotated: passing over as many bytes of the new one would lose its first records."""
    path = tmp_path / "0.jsonl"
    path.write_bytes(b'{"n": 1}' + end)
    file = TopicFile("in.labels", path, "in.labels", 0, 0, 0, 0)
    assert file.fill(follow=True)
    file.ready.clear()
    with path.open("ab") as log:
        log.write(b'{"n": 2}' + end + b'{"n"')
    assert file.fill(follow=True)
    assert file.ready.popleft()[0].offset == 1
    path.with_suffix(".new").write_bytes(b'{"number": 3000}\n' * 2 + b'{"n": 4}\n')
    path.with_suffix(".new").replace(path)
    with pytest.raises(InputFailed, match=r"holds other records now, and .* bytes of it were read before"):
        file.fill(follow=True)
