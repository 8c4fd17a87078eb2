"""Frozen customers: every field survives, damage and newer formats are refused by name, older formats are upgraded."""

from __future__ import annotations

import random
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_bench import Bench, loud, refrozen
from streams import DAY_US, HOUR_US, NOON_US, account, full_life, hostile_life, moved, others, transaction

from operators.catalogue import CATALOGUE
from operators.customer_step import CustomerStep
from operators.intent import churn, home_purchase, life_event, outlooks, product, traces
from state import frozen, still
from state.awaiting import Awaited, Awaiting, EarlyLabel
from state.categories import GROUPS
from state.customer import Customer
from state.digest import digest64
from state.estimators import Moments
from state.frozen import VERSION, FrozenError, freeze, thaw
from state.habits import log_amount
from state.packed import together
from state.policy import Policy
from state.settings_reading import load_settings
from state.still import freeze_still
from state.windows import overall_key, pack_key

INTENTS = (traces, home_purchase, churn, life_event, product)
RETENTION_US = Policy().retention_us
GOLDEN_2 = bytes.fromhex(
    "02dc001600cf00062f880a972800cf00062f880a9728009bcf00062f880a972800009401000000c2c41000502103832f0600"
    "0028970a882f0600c3c410e20400000000000000f2052a01000000c40801a90c0001621900c410c20b9bf0155141c38d2f2e"
    "f9d59097dcc402030384ce000ca90198000001cd04e201cd04e201cd04e2ce000ca97f98000001cd04e201cd04e201cd04e2"
    "ce001962019801cf000000012a05f20001cf000000012a05f20001cf000000012a05f20001cf000000012a05f200ce001962"
    "7f9801cf000000012a05f20001cf000000012a05f20001cf000000012a05f20001cf000000012a05f200919dcf00062f880a"
    "972800cfdc9790d5f92e2f8da3742d32cf000000012a05f200ce00196201cf7cd84f6ccb3014bec0c0c0ac636172645f7072"
    "6573656e74c3c30001c43001a90c000100000014f644f84ed204401a3d27c791181b407fa90c000100000014f644f84ed204"
    "401a3d27c791181b40c404359b85a681a24445cf00062f8303215000c40499e36f4cc4180000000000000000000000000100"
    "0000000000000000000094cf00062f8303215000cb40480ccccccccccdcb4027333333333333a3742d3181a3612d3197cf00"
    "062f83d9b4f400a763757272656e74a3455552d1ec78a46f70656ec0c080908080c40cbe8442f842c3cb986cc8ba01909081"
    "a367656f920181a4686f6d65ff90"
)
"""A customer of format 2: a purchase that has matured, an account, and a recent one of 5 billion minor units."""
GOLDEN_3 = bytes.fromhex(
    "03dc001a00cf00062f880a972800cf00062f880a9728009bcf00062f880a972800009401000000c292c4032f0600c40a00502103"
    "830028970a88c3c410e20400000000000000f2052a0100000092c40100c40601a90c016219c410c20b9bf0155141c38d2f2ef9d5"
    "9097dcc402030384ce000ca90198000001cd04e201cd04e201cd04e2ce000ca97f98000001cd04e201cd04e201cd04e2ce001962"
    "019801cf000000012a05f20001cf000000012a05f20001cf000000012a05f20001cf000000012a05f200ce0019627f9801cf0000"
    "00012a05f20001cf000000012a05f20001cf000000012a05f20001cf000000012a05f20091dc0011cf00062f880a972800cfdc97"
    "90d5f92e2f8da3742d32cf000000012a05f200ce00196201cf7cd84f6ccb3014bec0c0c0ac636172645f70726573656e74c3c300"
    "c0a0c00001c43001a90c000100000014f644f84ed204401a3d27c791181b407fa90c000100000014f644f84ed204401a3d27c791"
    "181b40c404359b85a691a24445c40499e36f4cc41800000000000000000000000001000000000000000000000094cf00062f8303"
    "215000cb40480ccccccccccdcb4027333333333333a3742d31808080c40cbe8442f842c3cb986cc8ba01909081a367656f920181"
    "a4686f6d65ff90c432012900000028b52ffd0300159f6e70050100a8949081a3612d3197cf00062f83d9b4f4d1ec78908002fc42"
    "0a113e17139802c4009080ff920000"
)
"""The same in format 3."""
GOLDEN_4 = bytes.fromhex(
    "049bc5010a027001000028b52ffd0300e263a109c50700f40cdc001200cf00062f880a97289a009401000000c2c3c4062f2f0606"
    "0000c40c0005002a0001c4080101a9620c190000c40203038401cd04e201cd04e201cd04e21962019801cf000000012a05f20001"
    "cf000000012a05f20001ce0019627f9891dc0011cfdc9790d5f92e2f8da3742d32cf000000012a05f200ce00196201cf7cd84f6c"
    "cb3014bec0c0c0a0c0000191a24445c41800000094cf00062f8303215000cb40480ccccccccccdcb4027333333333333a3742d31"
    "8080809081a367656f920181a4686f6d65ff9080ff9200000ffc0034e8157ca32d35bd10df2ff806cfec26b1cdd40dda23dc9ff2"
    "200e202d7796f69972986b93c40a000050282197030a8388c404e20004f2c410c20b9bf0155141c38d2f2ef9d59097dcc43001a9"
    "0c000100000014f644f84ed204401a3d27c791181b407fa90c000100000014f644f84ed204401a3d27c791181b40c404359b85a6"
    "c40499e36f4cc40cbe8442f842c3cb986cc8ba0190c432012900000028b52ffd0300159f6e70050100a8949081a3612d3197cf00"
    "062f83d9b4f4d1ec78908002fc420a113e17139802c4009090"
)
"""The same in format 4."""


def lived(seed: int = 1, count: int = 200, **policy: Any) -> Bench:
    """A customer with something in every field."""
    bench = Bench(loud(), Policy(lateness_us=6 * HOUR_US, **policy))
    bench.run(full_life(seed, count, 6 * HOUR_US))
    return bench


def same(one: Any, other: Any) -> bool:
    if hasattr(one, "freeze"):
        return bool(one.freeze() == other.freeze())
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple) and not hasattr(one, "_fields"):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def assert_same(one: Customer, other: Customer) -> None:
    for slot in Customer.__slots__:
        if slot not in ("_current", "scheduled_us", "states", "still", "still_states"):
            assert same(getattr(one, slot), getattr(other, slot)), slot


@given(st.integers(0, 2**32))
@settings(max_examples=20)
def test_every_field_survives(seed: int) -> None:
    customer = lived(seed, 60).shard.customer("c-1")
    again, states = thaw("c-1", freeze(customer, {"geo": [3, {"home": 1}]}), customer.ring.retention_us)
    assert_same(customer, again)
    ((name, (version, state)),) = states.items()
    assert (name, version, msgspec.msgpack.decode(state)) == ("geo", 3, {"home": 1})


@given(st.integers(0, 2**32))
@settings(max_examples=20)
def test_a_customer_frozen_again_and_again_has_the_bytes_of_one_frozen_once(seed: int) -> None:
    """What seldom changes is encoded when it has changed (`Customer.still`)."""
    bench = Bench(loud())
    for event in full_life(seed, 60, 6 * HOUR_US):
        bench.run([event])
        customer = bench.shard.customer("c-1")
        again = freeze(customer, {})
        customer.still, customer.still_states = None, None
        assert again == freeze(customer, {})


def test_what_has_left_the_profile_is_no_longer_kept() -> None:
    customer = lived(3, 60).shard.customer("c-1")
    freeze(customer, {})
    assert customer.streams
    customer.streams, customer.said, customer.accounts, customer.consents = [], [], {}, {}
    freeze(customer, {})
    assert customer.still is not None and customer.still[0] == []


def blocks_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that went into each compressed block from now on."""
    made: list[int] = []
    compressed = still.compressed

    def counted(encoded: bytes) -> bytes:
        made.append(len(encoded))
        return compressed(encoded)

    monkeypatch.setattr(still, "compressed", counted)
    return made


def test_what_seldom_changes_is_compressed_only_when_it_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = blocks_made(monkeypatch)
    bench = Bench(policy=Policy())
    bench.run([account(NOON_US), *(transaction(f"t-{n}", NOON_US + n * HOUR_US, 1_000) for n in range(8))])
    customer = bench.shard.customer("c-1")
    again, _ = thaw("c-1", freeze(customer, {}), RETENTION_US)
    first = len(made)
    bench.run([transaction("t-9", NOON_US + 9 * HOUR_US, 1_000)])
    freeze(customer, {})
    freeze(again, {})
    assert len(made) == first
    again.accounts["a-9"] = next(iter(customer.accounts.values()))
    freeze(again, {})
    assert len(made) == first + 1 and "a-9" in thaw("c-1", freeze(again, {}), RETENTION_US)[0].accounts


class Weekly(msgspec.Struct, array_like=True):
    CHANGES_SELDOM: ClassVar[bool] = True
    weeks: dict[str, bytes] = {}


def test_a_state_that_changes_seldom_is_compressed_only_when_it_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = blocks_made(monkeypatch)
    customer, state = Customer("c-1", RETENTION_US), Weekly({"churn": bytes(500)})
    once = freeze(customer, {"geo": [3, {"home": 1}], "weekly": [1, state]})
    again, states = thaw("c-1", once, RETENTION_US)
    assert {name: (version, msgspec.msgpack.decode(raw)) for name, (version, raw) in states.items()} == {
        "geo": (3, {"home": 1}),
        "weekly": (1, [{"churn": bytes(500)}]),
    }
    made.clear()
    for one in (customer, again):
        assert freeze(one, {"geo": [3, {"home": 1}], "weekly": [1, state]}) == once and not made
    state.weeks["churn"] += b"more"  # in place: a state is no value
    assert len(freeze(customer, {"weekly": [1, state]})) < 300 and len(made) == 1
    states = thaw("c-1", freeze(customer, {"weekly": [1, state]}), RETENTION_US)[1]
    assert msgspec.msgpack.decode(states["weekly"][1]) == [{"churn": bytes(500) + b"more"}]
    assert "weekly" not in thaw("c-1", freeze(customer, {}), RETENTION_US)[1]


def test_a_new_customer_survives() -> None:
    customer = Customer("c-1", RETENTION_US)
    assert_same(customer, thaw("c-1", freeze(customer, {}), RETENTION_US)[0])


def test_held_events_of_every_topic_survive() -> None:
    bench = Bench(loud(), Policy(reorder_wait_us=40 * DAY_US))
    events = [transaction("t-1", NOON_US, 10**19 - 1, merchant_name="店\u202e"), account(NOON_US, -(10**19 - 1))]
    events += others(NOON_US)  # type: ignore[arg-type]
    bench.apply([moved(event, arrival_us=NOON_US) for event in [*events, *hostile_life(3, 300)]])
    customer = bench.shard.customer("c-1")
    assert len(customer.held) == 304
    assert_same(customer, thaw("c-1", freeze(customer, {}), RETENTION_US)[0])


@given(st.integers(0, 2**32))
@settings(max_examples=10)
def test_hostile_values_survive_to_the_byte(seed: int) -> None:
    bench = Bench(loud(), Policy())
    bench.apply(hostile_life(seed, 300))
    once, again = refrozen(bench, "c-1")
    assert once == again


def test_an_ordinary_customer_is_small() -> None:
    """Half a year with three purchases a day, most of it matured: below one page of the table; and as much again for the two weeks
    that wait for labels; what intents keep is a twentieth of it, and so are the weeks that wait for an outcome."""
    bench = Bench(policy=Policy())
    random_ = random.Random(1)
    for number in range(500):
        at_us = NOON_US + number * 8 * HOUR_US
        bench.apply([transaction(f"t-{number}", at_us, random_.randrange(10_000), merchant_id=f"m-{number % 20}")])
    customer = bench.shard.customer("c-1")
    whole = len(freeze(customer, bench.step.freeze_states(customer)))
    customer.awaiting = Awaiting()
    alone = len(freeze(customer, bench.step.freeze_states(customer)))
    del customer.states[outlooks.NAME]
    without_outlooks = len(freeze(customer, bench.step.freeze_states(customer)))
    for intent in INTENTS:
        del customer.states[intent.NAME]
    bare = len(freeze(customer, bench.step.freeze_states(customer)))
    assert bare <= 2_700 and without_outlooks - bare <= 120
    assert alone - without_outlooks <= 250 and whole - alone <= 3_000


@pytest.mark.parametrize("golden", [GOLDEN_2, GOLDEN_3, GOLDEN_4], ids=["format 2", "format 3", "format 4"])
def test_profiles_already_on_disk_stay_readable(golden: bytes) -> None:
    """If this fails, the format has changed: give it a new VERSION and a way from the old one (state/older.py)."""
    customer, states = thaw("c-1", golden, RETENTION_US)
    key = pack_key("EUR", False, GROUPS.index("groceries"))
    assert (customer.matured, list(customer.amounts)) == (1, [key, overall_key(key)])
    assert customer.amounts.get(key) == Moments(1, log_amount(1_250, "EUR"), 0.0)
    assert digest64("m-1") in customer.merchants and digest64("d-1") in customer.devices
    assert customer.place == (NOON_US, 48.1, 11.6, "t-1") and list(customer.countries) == ["DE"]
    assert list(customer.ring.amounts) == [1_250, 5_000_000_000] and customer.ring.find(digest64("t-2")) == 1
    assert customer.ring.get(overall_key(pack_key("JPY", False, 0))) == [1, 5_000_000_000] * 4
    assert [recent.transaction_id for recent in customer.recent] == ["t-2"]
    assert customer.accounts["a-1"].balance_minor == -5_000 and len(customer.seen) == 1
    assert msgspec.msgpack.decode(states["geo"][1]) == {"home": -1}


def test_a_profile_of_format_2_without_its_last_fields_is_read() -> None:
    """As profiles were before streams, labels, balances, consents and rates."""
    fields = msgspec.msgpack.decode(GOLDEN_2[1:])
    assert len(fields) == 22
    assert len(fields[4][0]) == 13
    fields[4][0].append([7, 0, "Acme", "a-1", "transfer"])
    fields[8] = {"FR": 3, "DE": 7, "AT": 3}
    customer, _ = thaw("c-1", b"\2" + msgspec.msgpack.encode(fields), RETENTION_US)
    assert customer.recent[0].payee == (7, 0, "Acme") and list(customer.countries) == ["AT", "FR", "DE"]
    assert (customer.streams, customer.consents, customer.counter) == ([], {}, (0, 0))
    assert customer.rates_heard == frozen.UNKNOWN
    longer = msgspec.msgpack.encode([*fields, [], [], {"a-1": [NOON_US, 7, 100]}])
    customer, _ = thaw("c-1", b"\2" + longer, RETENTION_US)
    assert customer.balances["a-1"].minor == 100 and customer.rates_heard == frozen.UNKNOWN


def as_format_3(frozen_profile: bytes) -> bytes:
    """A profile as it was before its moving part was compressed, with columns that share nothing."""
    moving, ring, amounts, merchants, devices, seen, awaiting, *still_blocks, held, recent_events = (
        msgspec.msgpack.decode(frozen_profile[1:])
    )
    (
        partition, newest_us, arrival_us, rest, recent, matured, countries, hours, place, labels, waiting, refunds, timers, states,
        awaiting_rest, balances, rates_heard, counter,
    ) = msgspec.msgpack.decode(still.decompressed(moving), strict=False)  # fmt: skip
    *head, wide, later, larger, keys, flags, totals = rest
    times, amounts_of_ring, digests = ring
    wide_bytes = together(amounts_of_ring, larger, 8 if wide else 4)
    columns = [
        (b"", together(times, later, 8)),
        wide,
        wide_bytes,
        (b"", together(b"", keys, 4)),
        digests,
        flags,
        totals,
    ]
    if awaiting:
        later_us, names, early, expired, features = awaiting_rest
        awaiting = [awaiting[0], together(awaiting[1], later_us, 8), names, features, early, expired]
    return b"\3" + msgspec.msgpack.encode([
        partition, newest_us, arrival_us, [*head, *columns], recent, matured, amounts, merchants, countries, devices, hours, place,
        labels, waiting, refunds, seen, timers, held, states, recent_events, *still_blocks, awaiting, balances, rates_heard, counter,
    ])  # fmt: skip


@given(st.integers(0, 2**32))
@settings(max_examples=10)
def test_a_profile_of_format_3_has_the_bytes_of_one_that_was_always_in_format_4(seed: int) -> None:
    customer = lived(seed, 60).shard.customer("c-1")
    customer.awaiting.add(Awaited(7, NOON_US, "m-1", b"features"))
    customer.awaiting.add(Awaited(8, NOON_US + 1, None, b"fe_tures"))
    customer.awaiting.remember(EarlyLabel(NOON_US, "t-later", 1))
    raw = freeze(customer, {"geo": [3, {"home": 1}]})
    again, states = thaw("c-1", as_format_3(raw), customer.ring.retention_us)
    assert_same(customer, again)
    assert freeze(again, {name: [version, state] for name, (version, state) in states.items()}) == raw


def test_a_newer_format_is_refused_with_what_to_do() -> None:
    raw = freeze(Customer("c-1", RETENTION_US), {})
    with pytest.raises(
        FrozenError, match=rf"format {VERSION + 1}, this release reads up to {VERSION}: start the newer"
    ):
        thaw("c-1", bytes([VERSION + 1]) + raw[1:], RETENTION_US)


def test_an_older_format_without_a_way_is_refused_with_what_to_do() -> None:
    raw = freeze(Customer("c-1", RETENTION_US), {})
    with pytest.raises(
        FrozenError, match=rf"format 1, which this release no longer reads \(it reads {VERSION}\): start"
    ):
        thaw("c-1", b"\1" + raw[1:], RETENTION_US)


def test_an_older_format_is_upgraded_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    customer = lived().shard.customer("c-1")
    raw = freeze(customer, {})
    monkeypatch.setattr(frozen, "VERSION", VERSION + 2)
    steps: list[int] = []

    def upgrade(number: int) -> Any:
        def one(fields: list[Any]) -> list[Any]:
            steps.append(number)
            return fields

        return one

    monkeypatch.setattr(frozen, "UPGRADES", {VERSION: upgrade(1), VERSION + 1: upgrade(2)})
    again, _ = thaw("c-1", raw, customer.ring.retention_us)
    assert steps == [1, 2]
    assert_same(customer, again)


@pytest.mark.parametrize("length", [0, 1, 2, 50, -1])
def test_cut_bytes_are_refused_by_name(length: int) -> None:
    raw = freeze(lived(count=30).shard.customer("c-1"), {})
    with pytest.raises(FrozenError):
        thaw("c-1", raw[:length], RETENTION_US)


def test_damaged_bytes_end_in_a_named_error_or_in_a_customer() -> None:
    """The store's checksums find damage first; what passes them must still not crash in a way that nobody handles."""
    random_ = random.Random(7)
    raw = freeze(lived(count=60).shard.customer("c-1"), {})
    refused = 0
    for _ in range(2_000):
        damaged = bytearray(raw)
        damaged[random_.randrange(1, len(raw))] = random_.randrange(256)
        try:
            thaw("c-1", bytes(damaged), RETENTION_US)
        except FrozenError:
            refused += 1
    assert refused > 100


EMPTY = b"\x94\x90\x80\x90\x80"
"""What seldom changes of a new customer."""


def block_of(encoded: bytes, length: int, dictionary: int = still.DICTIONARY) -> bytes:
    """A block that claims to be of a length."""
    return bytes([dictionary]) + length.to_bytes(4, "little") + still.compressed(encoded)[5:]


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\1\1\0\0",
        block_of(EMPTY, 5)[:-3],
        block_of(EMPTY, 5) + b"more",
        block_of(EMPTY, still.BYTES_MAX + 1),
        block_of(bytes(1_000_000), 2),
        block_of(EMPTY, 9),
        block_of(EMPTY, 5, dictionary=255),
    ],
    ids=[
        "empty",
        "no length",
        "cut",
        "too much",
        "too long",
        "longer than it says",
        "shorter than it says",
        "dictionary",
    ],
)
def test_a_damaged_block_is_refused_by_name(block: bytes) -> None:
    with pytest.raises(ValueError, match="a compressed block"):
        still.decompressed(block)


def test_a_block_without_a_dictionary_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """So are those of older dictionaries, once there are newer ones."""
    monkeypatch.setattr(still, "DICTIONARY", still.NO_DICTIONARY)
    older = still.compressed(EMPTY)
    monkeypatch.undo()
    assert older[0] == still.NO_DICTIONARY != still.DICTIONARY
    assert still.decompressed(older) == still.decompressed(still.compressed(EMPTY)) == EMPTY


def test_the_dictionary_makes_blocks_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    block = freeze_still(lived(count=60).shard.customer("c-1"))
    encoded = still.decompressed(block)
    monkeypatch.setattr(still, "DICTIONARY", still.NO_DICTIONARY)
    assert len(block) < len(still.compressed(encoded)) < len(encoded)


def test_thawing_gives_a_customer_of_its_own() -> None:
    """Frozen bytes share nothing with the live object."""
    bench = Bench(loud()).run([transaction("t-1", NOON_US)])
    customer = bench.shard.customer("c-1")
    other, _ = thaw("c-1", freeze(customer, {}), customer.ring.retention_us)
    other.ring.cancel(0)
    assert customer.ring.totals and not other.ring.totals


def test_a_detector_state_of_another_version_is_refused_unless_there_is_a_way() -> None:
    settings = load_settings(environment={})
    step = CustomerStep(settings.detectors, settings.digest())
    stateful = next(d for d in CATALOGUE if d.State is not None and not hasattr(d, "upgrade"))
    assert stateful.State is not None
    raw = msgspec.Raw(msgspec.msgpack.encode(stateful.State()))
    customer = Customer("c-1", 0)
    step.thaw_states(customer, {stateful.NAME: (stateful.VERSION, raw)})
    assert customer.states[stateful.NAME] == stateful.State()
    for version in (stateful.VERSION - 1, stateful.VERSION + 1):
        with pytest.raises(FrozenError, match=f"detector {stateful.NAME} .* version {version}"):
            step.thaw_states(customer, {stateful.NAME: (version, raw)})
