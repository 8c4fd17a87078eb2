"""The engine's own scores: `segone replay --scores` in a process of its own, up to the end of the test period."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import msgspec
import numpy as np
from fraud_payments import Array, Payments

from state.settings import ConfigError
from state.times import rfc3339

ROOT = Path(__file__).resolve().parent.parent


class Replayed(msgspec.Struct, frozen=True):
    """`scores` has a number for each payment; `unscored` counts payments without one, which get −1, below all others."""

    scores: Array
    unscored: int
    each_us: float | None
    """Processor time for each payment: reading, decoding, windows, detectors, learning and writing; None if it was done before."""
    models: int | None
    """How many model versions scored, if that was noted."""


class ReplayError(Exception):
    """The replay ended with an error, which it has printed itself."""


def replay(data: Path, mapping: Path, payments: Payments, to_us: int) -> Replayed:
    """What arrived before `to_us`. Raises ReplayError when `segone replay` fails."""
    with tempfile.TemporaryDirectory(prefix="segone-fraud-") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "dataflows.cli", "replay", str(data.resolve())]
        command += ["--mapping", str(mapping.resolve()), "--out", str(folder / "out"), "--scores"]
        command += ["--to", rfc3339(to_us)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # What the replay says about itself is not a result of this measurement; its progress and errors are for people.
        ended = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, check=False
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if ended.returncode:
            raise ReplayError(f"segone replay ended with {ended.returncode}; its message stands above")
        spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        replayed = join(folder / "out" / "scores.parquet", payments, to_us)
        return msgspec.structs.replace(replayed, each_us=1e6 * spent_s / int((payments.time_us < to_us).sum()))


def join(path: Path, payments: Payments, to_us: int) -> Replayed:
    """The scores of a `scores.parquet`, of which those before `to_us` should be there. Raises ConfigError when there is none."""
    if not path.is_file():
        raise ConfigError(f"--scores {path}: there is no such file; it is written by `segone replay --scores`")
    of_payment: dict[tuple[str, str], float] = {}
    with duckdb.connect(config={"threads": 2}) as db:
        db.execute("SELECT customer_id, transaction_id, score FROM read_parquet(?)", [str(path)])
        while rows := db.fetchmany(10_000):
            for customer_id, transaction_id, score in rows:
                of_payment[customer_id, transaction_id] = score
        (models,) = db.execute("SELECT count(DISTINCT model) FROM read_parquet(?)", [str(path)]).fetchall()[0]
    scores = np.array([of_payment.get(id_, -1.0) for id_ in payments.ids])
    unscored = int(((scores < 0.0) & (payments.time_us < to_us)).sum())
    return Replayed(scores, unscored, None, int(models))
