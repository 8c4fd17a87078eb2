"""Buckets close when everybody is through, the shelf tells it whole or not at all, and sources wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflows.knowledge.board import BoardReader
from dataflows.knowledge.pacing import Pace
from dataflows.knowledge.pins import model_versions, read_pins, those_kept, write_pins
from dataflows.knowledge.shelf import Shelf, closed_for, listing, shelf_folder
from operators.knowledge.buckets import FOREVER_US, Buckets, Horizons
from operators.knowledge.building import build_learner
from operators.knowledge.facts import MerchantFact, ScoreCount
from operators.knowledge.merchant_table import Config, MerchantTable
from operators.knowledge.versions import CHAMPION, ModelVersion
from state.settings_reading import load_settings
from state.store_error import StoreError

HOUR_US = 3_600_000_000
BUCKET_US = 24 * HOUR_US
MERCHANTS, MODEL = "merchants-0", "model-transaction"


def table() -> MerchantTable:
    return MerchantTable(MERCHANTS, Config(), BUCKET_US)


def rows(bucket: int, *merchants: str) -> list[Any]:
    one = table()
    for merchant in merchants:
        one.add(MerchantFact(merchant, bucket * BUCKET_US, "c-1", "t-1"))
    return one.close((bucket + 1) * BUCKET_US)


def version(bucket: int) -> ModelVersion:
    """A version that can score, in force from the end of a bucket on."""
    learner = build_learner(load_settings(environment={}).detectors, BUCKET_US)
    learner.add(ScoreCount("transaction", 0, 0, 1_000, {0: 1}))
    return learner._version(CHAMPION, (bucket + 1) * BUCKET_US, 1.0)


def test_a_bucket_is_over_when_all_have_said_so() -> None:
    horizons = Horizons(expected=4)
    for shard, partition, horizon in ((0, 0, 5), (0, 1, 7), (1, 0, 5)):
        horizons.hear(shard, partition, horizon)
        assert horizons.reached_us is None
    horizons.hear(1, 1, FOREVER_US)
    assert horizons.reached_us == 5
    for shard, partition in ((0, 0), (1, 0), (0, 1)):
        horizons.hear(shard, partition, FOREVER_US)
    assert horizons.reached_us is None, "nobody has anything more: the open bucket stays open"


def test_a_long_silence_is_closed_at_once() -> None:
    buckets = Buckets(table(), BUCKET_US)
    assert [number for number, _ in buckets.close_until(10)] == [10]
    buckets.feed(MerchantFact("m-1", 11 * BUCKET_US, "c-1", "t-1"))
    assert [number for number, _ in buckets.close_until(400)] == [11, 400]
    assert [number for number, _ in buckets.close_until(400)] == []


def test_a_source_waits_until_all_keys_know_it_and_have_closed_the_bucket_before(tmp_path: Path) -> None:
    shelves = [Shelf(tmp_path, key) for key in (MERCHANTS, MODEL)]
    pace = Pace([shelf.folder for shelf in shelves], BUCKET_US, None)
    arrival_us = 20 * BUCKET_US + 5
    assert pace.until_us == 0 and not pace.approach(arrival_us) and pace.news
    pace.told()
    for shelf in shelves:
        shelf.announce(19, [99])  # of an earlier life
    assert not pace.met() and not pace.approach(arrival_us)
    shelves[0].announce(19, [pace.nonce])
    shelves[1].announce(18, [pace.nonce])
    assert pace.met() and not pace.approach(arrival_us)
    shelves[1].announce(19, [pace.nonce])
    assert pace.approach(arrival_us) and pace.until_us == 21 * BUCKET_US and pace.unpaced == 0


def test_on_a_live_stream_patience_ends_and_is_counted(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, MERCHANTS)
    pace = Pace([shelf.folder], BUCKET_US, 0.0)
    assert not pace.approach(BUCKET_US * 20)
    pace.told()
    assert not pace.approach(BUCKET_US * 20), "nobody goes on before the keys have cut their shelves"
    shelf.announce(3, [pace.nonce])
    assert pace.approach(BUCKET_US * 20) and pace.unpaced == 1


def test_where_nothing_is_learned_nobody_waits() -> None:
    pace = Pace.free()
    assert pace.until_us == FOREVER_US and pace.met() and not pace.news and pace.nonce == 0


def test_a_board_stays_at_the_bucket_in_hand_through_compaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.knowledge.shelf.INCREMENTS_MAX", 3)
    shelf = Shelf(tmp_path, MERCHANTS)
    for bucket in range(10, 16):
        shelf.put(bucket, rows(bucket, f"m-{bucket}"))
    reader = BoardReader(tmp_path, [MERCHANTS], BUCKET_US)
    reader.require(13 * BUCKET_US)
    assert reader.board.merchant("m-12") is not None and reader.board.merchant("m-13") is None and reader.is_complete
    shelf.compact(14, lambda versions: versions)
    assert listing(shelf.folder) == ([14], [15])
    reader.require(16 * BUCKET_US)
    again = BoardReader(tmp_path, [MERCHANTS], BUCKET_US)
    again.require(16 * BUCKET_US)
    for one in (reader, again):
        assert all(one.board.merchant(f"m-{bucket}") is not None for bucket in range(10, 16))


def test_a_compaction_cut_short_is_done_again_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.knowledge.shelf.INCREMENTS_MAX", 3)

    def die(point: str) -> None:
        if point == "shelf.compacted":
            raise KeyboardInterrupt

    shelf = Shelf(tmp_path, MERCHANTS, crash_point=die)
    for bucket in (10, 11, 12):
        shelf.put(bucket, rows(bucket, f"m-{bucket}"))
    with pytest.raises(KeyboardInterrupt):
        shelf.compact(12, lambda versions: versions)
    assert listing(shelf.folder) == ([12], [10, 11, 12]), "the base is there, and what it was made of still is"
    Shelf(tmp_path, MERCHANTS).compact(12, lambda versions: versions)
    assert listing(shelf.folder) == ([12], [])
    reader = BoardReader(tmp_path, [MERCHANTS], BUCKET_US)
    reader.require(13 * BUCKET_US)
    assert all(reader.board.merchant(f"m-{bucket}") is not None for bucket in (10, 11, 12))


def test_a_restored_key_takes_back_what_was_never_committed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, MERCHANTS)
    for bucket in (10, 11, 12):
        shelf.put(bucket, rows(bucket))
    shelf.announce(12, [7])
    Shelf(tmp_path, MERCHANTS).cut(10)
    assert listing(shelf.folder) == ([], [10]) and closed_for([shelf.folder], 7) is None


def test_a_shelf_that_lost_its_newest_versions_is_refused_instead_of_scoring_with_older_ones(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, MERCHANTS)
    for bucket in (10, 11):
        shelf.put(bucket, rows(bucket))
    (shelf.folder / "0000000011.versions").unlink()
    with pytest.raises(StoreError, match=r"0000000011.versions: is gone.*replay the input"):
        Shelf(tmp_path, MERCHANTS).cut(11)


def test_a_damaged_shelf_says_what_to_do(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, MERCHANTS)
    shelf.put(10, rows(10))
    (shelf.folder / "0000000010.versions").write_bytes(b"\x93torn")
    with pytest.raises(StoreError, match="replay the input"):
        BoardReader(tmp_path, [MERCHANTS], BUCKET_US).require(12 * BUCKET_US)


def test_a_pin_holds_from_the_next_bucket_until_it_is_taken_off(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, MODEL)
    first, second, third = (version(bucket) for bucket in (10, 11, 12))
    for bucket, one in ((10, first), (11, second)):
        shelf.put(bucket, [one])
    reader = BoardReader(tmp_path, [MODEL], BUCKET_US)

    def in_force() -> str:
        model = reader.board.champion("transaction")
        assert model is not None
        return model.version

    reader.require(12 * BUCKET_US)
    assert in_force() == second.version
    write_pins(tmp_path, {"transaction": {CHAMPION: first.version}})
    reader.require(12 * BUCKET_US, tick=True)
    assert in_force() == second.version, "paced: a bucket is scored by one version"
    shelf.put(12, [third])
    reader.require(13 * BUCKET_US)
    assert in_force() == first.version
    write_pins(tmp_path, {})
    reader.require(14 * BUCKET_US)
    assert in_force() == third.version and read_pins(tmp_path) == {}


def test_old_versions_leave_but_never_a_pinned_one(tmp_path: Path) -> None:
    versions = [version(bucket) for bucket in range(6)]
    kept = those_kept(versions, 2, {"transaction": {CHAMPION: versions[0].version}})
    assert list(kept) == [versions[0], *versions[-2:]]
    shelf = Shelf(tmp_path, MODEL)
    shelf.put(0, kept)
    assert model_versions(tmp_path, "transaction") == list(kept) and shelf_folder(tmp_path, MODEL) == shelf.folder
