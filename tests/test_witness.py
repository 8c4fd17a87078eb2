"""The witness: whichever of our steps fails, its own error is known, whatever the engine makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from bytewax.testing import run_main

from dataflows.failures import foreseen
from dataflows.signals import build
from dataflows.worker import Worker
from state.settings_reading import load_settings

PURCHASE = (
    '{"transaction_id":"t-1","customer_id":"c-1","booked_at":"2025-03-05T12:00:00Z","amount":"5.00",'
    '"currency":"EUR","direction":"debit","merchant_id":"m-1"}\n'
)


@pytest.mark.parametrize("step", ["router", "open_shard", "open_key"])
def test_the_first_error_of_each_step_is_noted_and_told(step: str, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise failure

    failure, told = RuntimeError("a bug"), list[BaseException]()
    (tmp_path / "in" / "in.transactions").mkdir(parents=True)
    (tmp_path / "in" / "in.transactions" / "0.jsonl").write_text(PURCHASE)
    folders = {"SEGONE__LOG__INPUT": str(tmp_path / "in"), "SEGONE__LOG__OUTPUT": str(tmp_path / "out")}
    worker = Worker.open(load_settings(environment=folders))
    setattr(worker, step, fail)
    worker.witness.tell = told.append
    with pytest.raises(RuntimeError):
        run_main(build(worker))
    assert worker.witness.failure is failure and told == [failure]


def test_want_of_memory_is_no_bug() -> None:
    assert "no memory is left for this process" in (foreseen(MemoryError()) or "")
