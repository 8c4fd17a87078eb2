"""Small inputs and run folders for the tests of the command line, and the command line itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from state.digest import partition_of

ROOT = Path(__file__).resolve().parent.parent
FIRST_S = 1_735_689_600  # 2025-01-01T00:00:00Z
ODD = 50
"""Of 60 purchases the one that stands out: 4,000 EUR in a new shop and country."""


def transaction(customer: int, number: int, **changes: Any) -> dict[str, Any]:
    """A purchase of customer c-<customer>, two a day; number ODD is odd."""
    odd = number == ODD
    booked = datetime.fromtimestamp(FIRST_S + number * 43_200 + customer * 60, UTC)
    body = {
        "transaction_id": f"t-{customer}-{number}",
        "customer_id": f"c-{customer}",
        "booked_at": booked.isoformat(),
        "amount": "4000.00" if odd else f"{20 + (7 * number + customer) % 15}.50",
        "currency": "EUR",
        "direction": "debit",
        "channel": "card_present",
        "mcc": "5411",
        "merchant_id": "m-odd" if odd else f"m-{number % 3}",
        "country": "BR" if odd else "DE",
    }
    return body | changes


def write_log(folder: Path, topic: str, records: list[tuple[str, bytes]], partitions: int = 2) -> None:
    """Records (customer id, line) as an embedded log."""
    for partition in range(partitions):
        lines = [line + b"\n" for customer, line in records if partition_of(customer.encode(), partitions) == partition]
        path = folder / topic / f"{partition}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(lines))


def as_line(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def signal(**changes: Any) -> dict[str, Any]:
    """A signal whose parts add up exactly: sigmoid(0) = 0.5."""
    body: dict[str, Any] = {
        "id": "a" * 32,
        "type": "anomaly.geo",
        "customer_id": "c-1",
        "event_time": "2025-03-04T12:34:56.000000Z",
        "state": "OPEN",
        "episode": "t-1",
        "revision": 1,
        "retracts": None,
        "score": 0.5,
        "score_link": "logit",
        "score_base": -1.5,
        "calibrated": False,
        "confidence": "HIGH",
        "severity": "MEDIUM",
        "sensitive": False,
        "details": {"kind": "impossible", "km": 7210.123456789012},
        "reasons": [reason("SPEED_IMPOSSIBLE", 1.0), reason("COUNTRY_NEW", 0.5)],
        "evidence": {
            "transaction_ids": ["t-1", "t-0"],
            "windows": [{"name": "24h", "from": "2025-03-03T12:34:56Z", "to": "2025-03-04T12:34:56Z"}],
        },
        "counterfactual": None,
        "forecast": None,
        "inputs": {"merchant_fraud_rate_30d": 0.012},
        "detector": "geo@1",
        "model": None,
        "config": "sha256:c0ffee",
        "valid_until": None,
        "trigger": {"topic": "in.transactions", "event_id": "t-1"},
    }
    return body | changes


def reason(code: str, contribution: float | None, **changes: Any) -> dict[str, Any]:
    body = {"code": code, "feature": "kmh", "value": 6008.3, "baseline": 80.0, "contribution": contribution}
    return body | {"text": f"because {code}"} | changes


def write_signals(run: Path, *signals: dict[str, Any], topic: str = "signals.anomaly", partition: int = 0) -> Path:
    """One partition of a run folder, committed to its end."""
    return write_committed_lines(run / topic / f"{partition}.jsonl", [as_line(each) for each in signals])


def write_committed_lines(path: Path, lines: list[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    path.with_suffix(".committed").write_text(str(path.stat().st_size))
    return path


def segone(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "dataflows.cli", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
