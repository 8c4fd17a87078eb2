"""A record that crashes a worker crashes it once: after the restart it is a dead letter, and its bytes are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from dataflows.batches import OutputBatch, RecordBatch
from dataflows.quarantine import Poisoned, Quarantine
from dataflows.route import Accounting, Router, ShardBatch
from dataflows.shard_logic import ShardLogic
from dataflows.tally import Tally
from operators.customer_step import CustomerStep, make_policy
from operators.decode import Decoder
from state.customer import Customer
from state.events import Transaction
from state.memory_store import MemoryStore
from state.records import Record
from state.settings_reading import load_settings
from state.shard import Shard
from state.step import Emission


class Faulty(CustomerStep):
    """A customer step with a bug of ours, outside of any detector."""

    def score(self, customer: Customer, transaction: Transaction, digest: int, out: list[Emission]) -> None:
        if transaction.transaction_id == "t-1":
            raise RuntimeError("a bug")
        super().score(customer, transaction, digest, out)


def record(number: int) -> Record:
    body = {
        "transaction_id": f"t-{number}",
        "customer_id": "c-1",
        "booked_at": "2025-01-01T00:00:00Z",
        "amount": "1.00",
        "currency": "EUR",
        "direction": "debit",
    }
    return Record("in.transactions", 0, number, 1_735_689_600_000_000, b"c-1", orjson.dumps(body))


class Unfreezable(CustomerStep):
    """A customer step whose states can't be written."""

    def freeze_states(self, customer: Customer) -> dict[str, list[Any]]:
        raise RuntimeError("another bug")


def drive(state_dir: Path, kind: type[CustomerStep] = Faulty) -> list[OutputBatch]:
    """One life of a worker with one shard over three records, which keeps no changed customer unwritten; what it would have written."""
    settings = load_settings(environment={})
    step = kind(settings.detectors, settings.digest())
    quarantine = Quarantine(state_dir)
    accounting = Accounting()
    router = Router(Decoder(), ["0000"], 1, accounting, quarantine)

    def factory(number: int) -> Shard:
        policy = msgspec.structs.replace(make_policy(settings, step, 1), dirty_customers_max=0)
        return Shard(number, step, policy, MemoryStore())

    logic = ShardLogic(None, factory, 1, False, 1.0, quarantine, tally=Tally(), accounting=accounting)
    written: list[OutputBatch] = []
    records = [record(number) for number in range(3)]
    for _, item in router([RecordBatch("0", records, records[-1].arrival_us, True, False)]):
        if isinstance(item, ShardBatch):
            written += [batch for _, batch in logic.on_batch([item])[0]]
        else:
            written.append(item)
    return written


def test_a_record_crashes_a_worker_once_and_is_a_dead_letter_after_the_restart(tmp_path: Path) -> None:
    with pytest.raises(Poisoned, match=r"in\.transactions/0/1 .*RuntimeError at test_quarantine\.py"):
        drive(tmp_path)
    outputs = [output for batch in drive(tmp_path) for output in batch.outputs]
    letters = [output for output in outputs if output.topic == "in.transactions.dlq"]
    assert [(letter.value, dict(letter.headers)["dlq.code"]) for letter in letters] == [
        (record(1).value, b"internal.error")
    ]
    scored = [orjson.loads(output.value)["transaction_id"] for output in outputs if output.topic == "scores"]
    assert scored == ["t-0", "t-2"]


def test_a_profile_that_cannot_be_written_sends_no_record_to_quarantine(tmp_path: Path) -> None:
    """It may be of another customer: after each restart a sound record more would be a dead letter."""
    with pytest.raises(RuntimeError, match="another bug"):
        drive(tmp_path, Unfreezable)
    assert not Quarantine(tmp_path)


def test_a_torn_note_is_passed_over_and_does_not_take_the_next_with_it(tmp_path: Path) -> None:
    (tmp_path / "quarantine.jsonl").write_bytes(
        b'{"topic":"in.transactions","partition":0,"offset":7,"error":"x"}\n{"top'
    )
    quarantine = Quarantine(tmp_path)
    assert quarantine.rejection(("in.transactions", 0, 7)) is not None
    assert quarantine.rejection(("in.transactions", 0, 8)) is None
    event = Decoder().decode(record(8))
    assert isinstance(event, Transaction)
    quarantine.add(event, RuntimeError("a bug"))
    again = Quarantine(tmp_path)
    assert [again.rejection(("in.transactions", 0, offset)) is not None for offset in (7, 8, 9)] == [True, True, False]
