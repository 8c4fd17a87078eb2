"""`segone simulate` from outside: files, flags, exit codes, summary."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import orjson
import pytest
from worlds import SEED, make

from simulation.command import add_arguments, run, world_settings
from simulation.life import TOPICS
from simulation.settings import CLEAN, Dirt, WorldSettings
from state.settings import ConfigError

SIZE = ["--customers", "6", "--days", "60", "--seed", str(SEED), "--partitions", "3"]
SETTINGS = WorldSettings(customers=6, days=60, seed=SEED, partitions=3)


def parse(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([*flags, "--out", "unused"] if "--out" not in flags else list(flags))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_it_writes_the_stream_as_an_embedded_log_and_the_truth_apart(tmp_path: Path) -> None:
    assert run(parse(*SIZE, "--out", str(tmp_path))) == 0
    sent, truth = make(SETTINGS)
    expected = {f"events/{topic}/{partition}.jsonl": b"" for topic in TOPICS for partition in range(3)}
    for message in sent:
        expected[f"events/{message.topic}/{crc32(message.key) % 3}.jsonl"] += message.value + b"\n"
    written = files(tmp_path)
    world = orjson.loads(written.pop("truth/world.json"))
    streams, money, refusals = (
        written.pop(f"truth/{name}.jsonl").splitlines() for name in ("streams", "money", "consents")
    )
    assert written == expected | {"truth/truth.jsonl": b"".join(truth)}
    assert {"customer_id", "stream", "cadence", "payments"} <= orjson.loads(streams[0]).keys()
    assert {orjson.loads(line)["kind"] for line in money} <= {"bill_changed", "new_subscription", "bill_due"}
    assert {orjson.loads(line)["purpose"] for line in refusals} <= {"marketing", "profiling", "health", "sharing"}
    assert world["start"] == "2024-01-01T00:00:00Z"
    assert world["end"] == "2024-03-01T00:00:00Z"
    assert (world["seed"], world["customers"], world["days"], world["partitions"]) == (SEED, 6, 60, 3)


def test_a_second_run_into_the_same_folder_replaces_the_world_byte_for_byte(tmp_path: Path) -> None:
    run(parse(*SIZE, "--out", str(tmp_path)))
    first = files(tmp_path)
    run(parse(*SIZE, "--partitions", "5", "--out", str(tmp_path)))
    assert files(tmp_path) != first
    run(parse(*SIZE, "--out", str(tmp_path)))
    assert files(tmp_path) == first


def test_it_leaves_folders_alone_that_hold_no_world(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "mine").write_text("precious")
    with pytest.raises(ConfigError, match="no earlier world"):
        run(parse(*SIZE, "--out", str(tmp_path)))
    assert files(tmp_path) == {"events/mine": b"precious"}


def test_a_run_that_fails_leaves_the_earlier_world_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(parse(*SIZE, "--out", str(tmp_path)))
    first = files(tmp_path)

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("simulation.command.write_truth", fail)
    with pytest.raises(OSError, match="no space left"):
        run(parse(*SIZE, "--days", "61", "--out", str(tmp_path)))
    assert files(tmp_path) == first
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_summary_tells_plants_decoys_overdrafts_and_that_the_books_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(parse("--customers", "24", "--days", "120", "--out", str(tmp_path)))
    said = capsys.readouterr().out
    lines = (tmp_path / "truth" / "truth.jsonl").read_bytes().splitlines()
    overdrafts = sum(orjson.loads(line)["kind"] == "overdraft" for line in lines)
    assert f"{overdrafts:,} overdraft episodes" in said
    assert "24 of 24 customers' books add up to the cent" in said
    assert "24 customers" in said
    for word in ("in.transactions", "takeover", "decoys", "transactions/s"):
        assert word in said


def test_flags_become_settings() -> None:
    asked = parse("--customers", "5", "--difficulty", "hard", "--start", "2023-05-17", "--malformed", "0.5")
    assert world_settings(asked) == replace(
        WorldSettings(), customers=5, difficulty="hard", start=asked.start, dirt=Dirt(malformed=0.5)
    )
    assert asked.start.isoformat() == "2023-05-17"
    assert world_settings(parse("--clean")).dirt == CLEAN
    assert world_settings(parse("--clean", "--duplicates", "0.2")).dirt == replace(CLEAN, duplicates=0.2)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--customers", "0"], "--customers"),
        (["--days", "0"], "--days"),
        (["--seed", "-1"], "--seed"),
        (["--partitions", "0"], "--partitions"),
        (["--disorder", "1.5"], "--disorder"),
        (["--duplicates", "nan"], "--duplicates"),
        (["--start", "1970-01-01"], "--start"),
        (["--processes", "0"], "--processes"),
    ],
)
def test_impossible_worlds_are_refused_with_the_name_of_the_flag(flags: list[str], named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=named):
        run(parse(*flags, "--out", str(tmp_path)))
    assert files(tmp_path) == {}


@pytest.mark.parametrize("days", [1, 2, 7, 29, 30, 59, 60, 61, 75])
@pytest.mark.parametrize("start", ["2024-01-01", "2023-10-31"])
def test_worlds_of_any_length_can_be_made(days: int, start: str) -> None:
    settings = world_settings(parse("--customers", "30", "--days", str(days), "--start", start))
    sent, truth = make(settings)
    assert len(sent) > 30
    if days < 30:
        assert {orjson.loads(line)["kind"] for line in truth} <= {"overdraft", "fee", "bill_due"}
