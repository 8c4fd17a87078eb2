"""The truth about refinancing against the detector: the same people on the same day, and the saving to the cent."""

from __future__ import annotations

from pathlib import Path

import orjson
from shard_bench import TABLES, Bench

from operators.decode import Decoder, Rejection
from operators.intent import refinance
from simulation.runs import messages
from simulation.settings import CLEAN, WorldSettings
from simulation.world import CONSENTS, MONEY, World
from state.events import MarketRate
from state.records import Record

SETTINGS = WorldSettings(24, 330, 441, dirt=CLEAN)


def test_recipients_equal_the_truths_and_the_saving_is_right_to_the_cent(tmp_path: Path) -> None:
    print("seed", SETTINGS.seed)
    world, decoder = World(SETTINGS, tmp_path), Decoder()
    world.live()
    tables = {**TABLES, "refinance": {**TABLES["refinance"], "purposes": []}}  # of those who refuse offers, too
    bench = Bench(tables, detectors=(refinance,))
    for number, message in enumerate(messages(world.lines())):
        event = decoder.decode(Record(message.topic, 0, number, message.arrival_us, message.key, message.value))
        if not isinstance(event, Rejection) and (event.customer_id or isinstance(event, MarketRate)):
            bench.apply([event])
    lines = [orjson.loads(line) for line in world.truth(MONEY)]
    cases = [line for line in lines if line["kind"] == "refinance"]
    names = ("account_id", "series", "saving_per_month", "payment", "payment_offered", "months", "cost")
    expected = {(one["customer_id"], one["start"][:10], *(one["detail"][name] for name in names)) for one in cases}
    opened = [body for body in bench.on("signals.intent") if body["state"] == "OPEN"]
    said = {(one["customer_id"], one["event_time"][:10], *(one["details"][name] for name in names)) for one in opened}
    assert len(expected) >= 4
    assert said == expected
    assert list(world.truth(CONSENTS)), "consents are another matter, and there are refusals"
