"""`segone state` says what a state folder holds and whether it is sound, with the exit codes that were promised."""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path

import pytest

from dataflows.commands import state_command
from dataflows.knowledge.shelf import Shelf
from operators.knowledge.merchant_row import MerchantRow
from state.settings import ConfigError
from state.store import DiskStore, shard_folder


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for shard in (0, 5):
        with closing(DiskStore.open(tmp_path, shard)) as store:
            store.restore(None)
            for number in range(100):
                store.put(f"secret-{number}", b"p" * 3000, number)
            store.checkpoint(b"")
            store.proven()
            store.write_behind(100)
            store.put("secret-0", b"q" * 3000, None)
            store.checkpoint(b"")
    return tmp_path


def command(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    state_command.add_arguments(parser)
    return state_command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_inspect_reports_each_shard(directory, capsys):
    assert command("inspect", directory, "--json") == 0
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["shard"], r["customers"], r["timers"], r["checkpoint"], r["log_checkpoint"]) for r in reports] == [
        (0, 100, 100, 1, 2),
        (5, 100, 100, 1, 2),
    ]
    assert command("inspect", directory) == 0
    assert "0005" in capsys.readouterr().out


def test_verify_passes_a_sound_folder_and_fails_a_damaged_one_without_naming_customers(directory, capsys):
    assert command("verify", directory) == 0
    assert "2 shards read, 0 with damage" in capsys.readouterr().out
    path = shard_folder(directory, 5) / "customers.mdb"
    data = bytearray(path.read_bytes())
    data[data.index(b"secret-57" + b"p" * 1000) + 500] ^= 1
    path.write_bytes(data)
    assert command("verify", directory) == 1
    output = capsys.readouterr()
    assert str(path) in output.err and "damaged" in output.err
    assert "secret" not in output.err + output.out


def test_verify_finds_a_table_that_was_emptied_after_the_log_before_it_was_dropped(tmp_path, capsys):
    with closing(DiskStore.open(tmp_path, 0, segment_bytes=1)) as store:
        store.restore(None)
        for number in range(3):
            store.put(f"secret-{number}", b"p", None)
            store.checkpoint(b"")
            store.proven()
            store.write_behind(100)
        store.put("secret-3", b"p", None)
        store.checkpoint(b"")
    assert command("verify", tmp_path) == 0
    path = shard_folder(tmp_path, 0) / "customers.mdb"
    path.write_bytes(b"")
    assert command("verify", tmp_path) == 1
    assert f"{path}: holds nothing of the checkpoints between" in capsys.readouterr().err


@pytest.fixture
def learned(directory: Path) -> Path:
    """The folder of a knowledge key beside the shards."""
    key = directory / "knowledge" / "merchants-0"
    with closing(DiskStore.open(key, 0)) as store:
        store.restore(None)
        store.put("m-1", b"p" * 3000, None)
        store.checkpoint(b"")
        store.proven()
        store.write_behind(100)
    Shelf(directory, "merchants-0").put(10, [])
    return key


def test_what_was_learned_is_inspected_verified_and_compacted_with_the_rest(directory, learned, capsys):
    for action in ("inspect", "verify", "compact"):
        assert command(action, directory, "--json") == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(line["shard"], line.get("knowledge")) for line in lines] == [(0, None), (5, None), (0, "merchants-0")]
    assert command("verify", directory) == 0
    assert "1 stores of knowledge read, 0 with damage" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["table", "shelf", "no UTF-8"])
def test_verify_finds_damage_in_what_was_learned(directory, learned, capsys, damage):
    path = learned / "shelf" / "0000000010.versions"
    if damage == "table":
        path = shard_folder(learned, 0) / "customers.mdb"
    data = path.read_bytes()
    spoilt = {"shelf": b"\x93", "no UTF-8": b"\x91\xdc\x00%c\xa1\xff" % len(MerchantRow.__struct_fields__)}
    path.write_bytes(spoilt.get(damage) or data.replace(b"p" * 1000, b"p" * 999 + b"q", 1))
    assert command("verify", directory) == 1
    output = capsys.readouterr()
    assert str(path) in output.err and "damaged" in output.err
    assert "2 shards read, 0 with damage" in output.out and "1 stores of knowledge read, 1 with damage" in output.out


def test_compact_leaves_a_sound_folder(directory, capsys):
    assert command("compact", directory, "--shard", 5) == 0
    assert "shard 0005" in capsys.readouterr().out
    assert command("verify", directory) == 0


def test_what_a_killed_compaction_left_goes_when_the_shard_is_opened(directory):
    left = shard_folder(directory, 5) / "customers.mdb.compacted"
    left.write_bytes(b"half a table")
    DiskStore.open(directory, 5).close()
    assert not left.exists() and command("verify", directory) == 0


def test_a_running_worker_is_not_disturbed(directory, capsys):
    with closing(DiskStore.open(directory, 0)):
        assert command("verify", directory, "--shard", 0) == 1
    assert "in use by process" in capsys.readouterr().err


def test_a_wrong_path_or_shard_is_wrong_use(directory, tmp_path):
    with pytest.raises(ConfigError, match="no state folder"):
        command("inspect", tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="has no such shard"):
        command("inspect", directory, "--shard", 9)
