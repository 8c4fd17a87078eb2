"""bench/compromised.py: what an oracle that knows the shops reaches in a small world."""

from __future__ import annotations

from compromised import reached

from simulation.settings import WorldSettings

SEED = 560


def test_an_oracle_needs_a_label_before_a_victim_pays_again_and_alarms_at_other_customers() -> None:
    found = reached(WorldSettings(120, 200, SEED))
    print(f"seed {SEED}: {found}")
    assert 0 < found.found < found.cases
    assert found.false_alarms_per_year > 0.1, "more than the budget of 0.09"
