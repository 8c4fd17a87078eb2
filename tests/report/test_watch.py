"""The live page: bounded whatever comes, committed signals only, and no way in without the token."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_samples import as_line, signal, write_signals
from hypothesis import given
from hypothesis import strategies as st

from dataflows.commands.watch import tell
from dataflows.report.events import EventSource
from dataflows.report.pseudonyms import Pseudonyms
from dataflows.watch.access import check_access
from dataflows.watch.app import Newsroom
from dataflows.watch.memory import NEWEST, PROFILES, Memory
from dataflows.watch.tails import FileTail, LogReplaced
from state.settings import ConfigError, WatchSettings
from state.settings_reading import load_settings

OPENLY = Pseudonyms(None)
SMALL = WatchSettings(signals_max=100, profiles_max=10, bytes_max=1 << 16, push_ms=10)
TOPIC = "signals.anomaly"


def said(number: int, **changes: Any) -> bytes:
    return as_line(signal(id=f"{number:032x}", customer_id=f"c-{number % 40}", episode=f"t-{number}", **changes))


def test_all_is_counted_but_only_so_much_is_remembered() -> None:
    memory = Memory(SMALL, OPENLY)
    memory.add((TOPIC, said(number)) for number in range(1_000))
    _, news = memory.news()
    assert news["fleet"]["signals"] == 1_000
    assert [each["id"] for each in news["newest"]] == [f"{number:032x}" for number in range(999, 999 - NEWEST, -1)]
    held = sum(len(memory.signals_of(f"c-{customer}")) for customer in range(40))
    assert 0 < held <= 100
    assert held * len(said(0)) <= SMALL.bytes_max + 1_000
    assert f"{1_000 - held:,} older ones have left memory" in news["notes"][0]


def test_profiles_leave_by_age_and_the_newest_of_a_customer_counts() -> None:
    memory = Memory(SMALL, OPENLY)
    memory.add((PROFILES, as_line({"customer_id": f"c-{n % 12}", "round": n})) for n in range(36))
    assert memory.profile_of("c-11") == {"customer_id": "c-11", "round": 35}
    assert memory.profile_of("c-1") is None
    memory.add([(PROFILES, as_line({"customer_id": "c-big", "pad": "x" * SMALL.bytes_max}))])
    assert memory.profile_of("c-big") is None


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_no_message_ends_the_page(values: list[bytes]) -> None:
    memory = Memory(SMALL, OPENLY)
    memory.add(itertools.product((TOPIC, PROFILES, "detector_errors"), values))
    memory.add([(TOPIC, said(1))])
    assert memory.news()[1]["fleet"]["signals"] == 1


def test_a_signal_that_cannot_be_is_left_out() -> None:
    memory = Memory(SMALL, OPENLY)
    wrong: list[dict[str, Any]] = [{"event_time": "0001-01-01T00:00:00+23:00"}, {"event_time": "x"}, {"score": 1e308}]
    memory.add((TOPIC, said(1, **each)) for each in wrong)
    memory.add([(TOPIC, said(1))])
    news = memory.news()[1]
    assert news["fleet"]["signals"] == 1
    assert news["notes"] == ["3 messages could not be read and were left out."]


def test_where_the_events_have_gone_a_story_is_told_from_the_signals(tmp_path: Path) -> None:
    memory = Memory(SMALL, OPENLY)
    memory.add([(TOPIC, said(1))])
    told = tell("c-1", memory, EventSource(tmp_path / "gone", None), load_settings(None, {}), OPENLY)
    assert len(told["signals"]) == 1


def test_only_committed_lines_are_shown(tmp_path: Path) -> None:
    path = write_signals(tmp_path, signal())
    with path.open("ab") as file:
        file.write(said(2) + b"\n")
    tail = FileTail(tmp_path, from_now=False)
    assert [json.loads(value)["id"] for _, value in tail.read(0)] == ["a" * 32]
    assert tail.read(0) == []
    path.with_suffix(".committed").write_text(str(path.stat().st_size))
    assert [value for _, value in tail.read(0)] == [said(2)]
    write_signals(tmp_path, signal(id="b" * 32), topic="signals.alert", partition=3)  # a file that came later
    assert [topic for topic, _ in tail.read(0)] == ["signals.alert"]


def test_a_note_that_promises_more_than_there_is_ends_no_reader(tmp_path: Path) -> None:
    path = write_signals(tmp_path, signal())
    with path.open("ab") as file:
        file.write(said(2)[:40])
    path.with_suffix(".committed").write_text("100000")
    tail = FileTail(tmp_path, from_now=False)
    assert len(tail.read(0)) == 1
    assert tail.read(0) == []


def test_from_now_leaves_out_what_was_said_before(tmp_path: Path) -> None:
    path = write_signals(tmp_path, signal())
    tail = FileTail(tmp_path, from_now=True)
    assert tail.read(0) == []
    with path.open("ab") as file:
        file.write(said(2) + b"\n")
    path.with_suffix(".committed").write_text(str(path.stat().st_size))
    assert [value for _, value in tail.read(0)] == [said(2)]


def test_a_log_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    write_signals(tmp_path, signal(), signal(id="b" * 32))
    tail = FileTail(tmp_path, from_now=False)
    assert len(tail.read(0)) == 2
    write_signals(tmp_path, signal(id="c" * 32))
    with pytest.raises(LogReplaced):
        tail.read(0)
    assert [json.loads(value)["id"] for _, value in tail.read(0)] == ["c" * 32]


def test_long_files_come_in_pieces_and_whole(tmp_path: Path) -> None:
    lines = [said(number, details={"pad": "x" * 5_000}) for number in range(600)]
    lines[7] = said(7, details={"pad": "y" * (2 << 20)})
    path = tmp_path / TOPIC / "0.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"\n".join(lines) + b"\n")
    tail, found = FileTail(tmp_path, from_now=False), []
    while some := tail.read(0):
        found += [value for _, value in some]
    assert found == lines


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"host": "0.0.0.0"}, "a token is required"),
        ({"host": "192.168.1.4"}, "a token is required"),
        ({"host": "::"}, "a token is required"),
        ({"token": "short"}, "fewer than 16 characters"),
    ],
)
def test_a_page_open_to_the_network_is_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_access(WatchSettings(**settings))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_this_machine_no_token_is_needed(host: str) -> None:
    check_access(WatchSettings(host=host))
    check_access(WatchSettings(host="0.0.0.0", token="x" * 16))


def test_the_token_may_stand_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("sixteen or more characters\n")
    found = load_settings(environment={"SEGONE__WATCH__TOKEN_FILE": str(secret)})
    assert found.watch.token == "sixteen or more characters"
    with pytest.raises(ConfigError, match=r"\[watch\] token_file: .*none cannot be read"):
        load_settings(environment={"SEGONE__WATCH__TOKEN_FILE": str(tmp_path / "none")})


def test_a_slow_reader_gets_the_newest_and_holds_nothing_up() -> None:
    memory = Memory(SMALL, OPENLY)
    newsroom = Newsroom(memory, SMALL, lambda: "")

    async def read_slowly() -> list[int]:
        seen = []
        stream = newsroom.stream()
        for burst in range(3):
            memory.add((TOPIC, said(burst * 500 + number)) for number in range(500))
            text = await anext(stream)
            seen.append(json.loads(text.removeprefix(b"data: "))["fleet"]["signals"])
        assert newsroom.readers == 1
        await stream.aclose()
        return seen

    assert asyncio.run(read_slowly()) == [500, 1_000, 1_500]  # one message a look, not one a signal
    assert newsroom.readers == 0


def test_readers_who_come_in_the_same_moment_are_no_more_than_allowed() -> None:
    newsroom = Newsroom(Memory(SMALL, OPENLY), msgspec.structs.replace(SMALL, clients_max=2), lambda: "")

    async def crowd() -> list[bool]:
        streams = [newsroom.stream() for _ in range(5)]  # all admitted before the first one was counted
        return [await anext(stream, None) is not None for stream in streams]

    assert asyncio.run(crowd()) == [True, True, False, False, False]


def test_settings_have_limits() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"signals_max": 0}, WatchSettings)
