"""What a customer has decided about purposes: the newest decision on each, by the time of the decision, not of its arrival."""

from __future__ import annotations

from typing import NamedTuple

from state.events import Consent


class Decision(NamedTuple):
    """The newest decision about one purpose. `since_us` is when the present consent began: it says nothing about before."""

    decided_us: int
    granted: bool
    since_us: int
    expires_us: int | None

    def holds(self, time_us: int) -> bool:
        """Whether there is consent to speak of what happened at `time_us`.

        >>> Decision(10, True, 10, 20).holds(15), Decision(10, True, 10, 20).holds(20), Decision(10, False, 10, None).holds(15)
        (True, False, False)
        """
        return self.granted and self.since_us <= time_us and (self.expires_us is None or time_us < self.expires_us)


def decided(before: Decision | None, consent: Consent) -> Decision:
    """The decision after one more record. An older one changes nothing; of two at the same time the refusal counts."""
    granted = consent.status == "granted"
    if before is not None:
        if consent.time_us < before.decided_us or (consent.time_us == before.decided_us and not before.granted):
            return before
        if granted and before.holds(consent.time_us):
            return Decision(consent.time_us, True, before.since_us, consent.expires_us)
    return Decision(consent.time_us, granted, consent.time_us, None if not granted else consent.expires_us)
