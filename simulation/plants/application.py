"""Applications for products, step by step, as a bank records them."""

from __future__ import annotations

from simulation.ledger import CURRENCY, money
from simulation.life import Life
from simulation.randomness import Draws


def apply(life: Life, draws: Draws, product: str, amount_minor: int, steps: tuple[tuple[str, int], ...]) -> int:
    """Records the steps, each a status and its day, and returns the time of the last in microseconds."""
    application_id = life.identify("f-", "application", steps[-1][1])
    at_us = 0
    for number, (status, day) in enumerate(steps):
        at_us = life.time_us(max(0, day), draws.between(32_000, 40_000) + number * 9000)
        life.say(
            at_us,
            "in.applications",
            application_id=application_id,
            applied_at=life.text(at_us),
            product=product,
            status=status,
            amount=money(amount_minor),
            currency=CURRENCY,
        )
    return at_us


def complete(life: Life, product: str, done_us: int) -> None:
    """What the bank learns of a product taken, an hour after the application is completed."""
    life.label(done_us + 3_600_000_000, "product_taken", product=product, occurred_at=life.text(done_us))
