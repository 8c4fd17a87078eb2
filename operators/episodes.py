"""Episodes: from what a detector found or has to say to the signals that are written, and the memory of what was said.

Nothing is opened or updated without consent to the purposes that it serves (operators/consent.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from operators.consent import Consents, purposes_of
from operators.detector import DetectorConfig, Finding, Say, Wake, confidence, open_episode
from state.customer import OWN_TIMERS_MAX, SAID_MAX, Customer, Said, Timer
from state.estimators import sigmoid
from state.events import Consent, Event, Transaction
from state.signals import EventTrigger, Evidence, Reason, Signal, TimerTrigger, Trigger, signal_id
from state.step import Emission
from state.times import NEVER_US, rfc3339

CONSENT_TIMER = "consent"
"""Name of the timers at which consents end by themselves; no detector is called that."""
ENDS_MAX = 8
"""Transactions noted to have ended one episode: more than one, should the first be reversed."""


class Cause(NamedTuple):
    """Why something is said just now."""

    trigger: Trigger
    time_us: int
    digest: int = 0
    """Of the transaction whose reversal would take back an OPEN; 0 if there is none."""
    event: Event | None = None
    """What was read, if what is said is about it."""

    @property
    def name(self) -> str:
        trigger = self.trigger
        return trigger.event_id if isinstance(trigger, EventTrigger) else trigger.due


class Episodes:
    """Speaks for all detectors. `configs` and `names` ("geo@2") are by signal type. Keeps nothing between events."""

    def __init__(
        self, configs: Mapping[str, DetectorConfig], names: Mapping[str, str], config_digest: str, consents: Consents
    ) -> None:
        self._configs = configs
        self._names = names
        self._config_digest = config_digest
        self._consents = consents

    def find(
        self,
        type_: str,
        finding: Finding,
        customer: Customer,
        transaction: Transaction,
        digest: int,
        model: str | None,
        out: list[Emission],
    ) -> None:
        """Says what was found in a transaction, unless it is too weak or an episode of its kind goes on."""
        config = self._configs[type_]
        if finding.ends:
            _end(type_, finding.ends, customer, transaction, digest)
        if not finding.reasons:
            return
        base = config.score_base if finding.score_base is None else finding.score_base
        score = sigmoid(base + finding.strength)
        threshold = config.threshold if finding.threshold is None else finding.threshold
        if score < threshold or _goes_on(customer, type_, finding.kind, transaction.time_us):
            return
        if self.withheld(customer, type_, finding.sensitive, transaction.time_us):
            return
        time_us, id_ = transaction.time_us, transaction.transaction_id
        quiet_s = config.quiet_s if finding.quiet_s is None else finding.quiet_s
        until_us = time_us + int(quiet_s * 1e6)
        cause = Cause(EventTrigger(transaction.TOPIC, id_), time_us, digest, transaction)
        say = Say(
            "OPEN",
            finding.reasons,
            finding.kind,
            transaction_ids=(id_, *(other for other in finding.transaction_ids if other != id_)),
            details=finding.details,
            windows=finding.windows,
            sensitive=finding.sensitive,
            calibrated=finding.calibrated,
            score_base=base,
            inputs=finding.inputs,
        )
        self._open(type_, say, id_, score, until_us, customer, cause, model, out)
        if quiet_s:
            customer.timers.append(Timer(until_us, type_, id_))

    def say(self, type_: str, say: Say, customer: Customer, cause: Cause, out: list[Emission]) -> None:
        """Says what a detector has to say about its own episode, if that is news."""
        config = self._configs[type_]
        base = config.score_base if say.score_base is None else say.score_base
        score = sigmoid(base + sum(r.contribution or 0.0 for r in say.reasons)) if say.score is None else say.score
        said = open_episode(customer, type_, say.kind)
        withheld = self.withheld(customer, type_, say.sensitive, cause.time_us)
        if said is None:
            if say.state == "OPEN" and score >= config.threshold and not withheld:
                episode = f"{say.kind}:{cause.name}" if say.kind else cause.name
                if any(old.type == type_ and old.episode == episode for old in customer.said):
                    return  # it was opened by this very cause before, and is over
                self._open(type_, say, episode, score, NEVER_US, customer, cause, say.model, out)
        elif say.state != "OPEN" and not (say.state == "UPDATE" and withheld):
            said = said._replace(revision=said.revision + 1, score=score)
            self._emit(type_, say, said, customer, cause, say.model, out)
            at = next(i for i, other in enumerate(customer.said) if other.open_id == said.open_id)
            if say.state == "UPDATE":
                customer.said[at] = said
            else:
                until_us = cause.time_us if say.state == "CLOSE" else said.time_us
                customer.said[at] = said._replace(state=say.state, active_until_us=until_us)

    def obey(self, customer: Customer, consent: Consent, out: list[Emission]) -> None:
        """After a decision: what is open and may no longer be said is withdrawn; a consent that ends by itself gets a timer."""
        cause = Cause(EventTrigger(consent.TOPIC, consent.event_id), consent.time_us, event=consent)
        self._silence(customer, cause, out)
        decision = customer.consents[consent.purpose]
        timers = [t for t in customer.timers if t.name != CONSENT_TIMER or t.episode != consent.purpose]
        if decision.granted and decision.expires_us is not None:
            timers.append(Timer(decision.expires_us, CONSENT_TIMER, consent.purpose))
        customer.timers = timers

    def expire(self, customer: Customer, timer: Timer, out: list[Emission]) -> None:
        """A consent has ended by itself."""
        cause = Cause(TimerTrigger(f"{CONSENT_TIMER}.{timer.episode}", rfc3339(timer.due_us)), timer.due_us)
        self._silence(customer, cause, out)

    def _silence(self, customer: Customer, cause: Cause, out: list[Emission]) -> None:
        """Withdraws all open episodes that serve a purpose to which there is no consent any more."""
        now_us = max(cause.time_us, customer.newest_us)
        for i, said in enumerate(customer.said):
            purpose = self.withheld(customer, said.type, said.sensitive, now_us) if said.state == "OPEN" else None
            if purpose is not None:
                text = f"there is no consent to {purpose}"
                reason = Reason("CONSENT_WITHHELD", "purpose", purpose, None, None, text)
                self._follow_up(customer, said, "RETRACT", cause, reason, out)
                customer.said[i] = said._replace(
                    state="RETRACT", revision=said.revision + 1, active_until_us=said.time_us
                )

    def withheld(self, customer: Customer, type_: str, sensitive: bool, time_us: int) -> str | None:
        """The purpose of this signal type to which there is no consent, if there is one."""
        config = self._configs[type_]
        if not config.purposes and not sensitive:
            return None
        return self._consents.withheld(customer, purposes_of(config.purposes, sensitive), time_us)

    def wake(self, owner: str, wake: Wake, customer: Customer) -> None:
        """Sets, moves or calls off a timer of detector `owner`."""
        timers = [timer for timer in customer.timers if timer.name != owner or timer.episode != wake.name]
        if wake.due_us is not None:
            own = sum(1 for timer in timers if timer.name == owner)
            assert own < OWN_TIMERS_MAX, f"{owner} sets more than {OWN_TIMERS_MAX} timers"
            timers.append(Timer(wake.due_us, owner, wake.name))
        customer.timers = timers

    def withdraw(self, customer: Customer, said: Said, cause: Cause, out: list[Emission]) -> None:
        """Takes back a signal whose transaction was reversed by `cause`."""
        text = "the transaction that caused it was reversed"
        self._follow_up(
            customer,
            said,
            "RETRACT",
            cause,
            Reason("REVERSED", "transaction_id", said.transaction_id, None, None, text),
            out,
        )

    def rest(self, customer: Customer, timer: Timer, out: list[Emission]) -> None:
        """An episode whose quiet time has passed ends; so does one that a transaction has ended, if that one still stands."""
        for i, said in enumerate(customer.said):
            if said.type == timer.name and said.episode == timer.episode and said.state == "OPEN":
                reason = _over(customer, said, timer)
                if reason is None:
                    return
                cause = Cause(TimerTrigger(f"{timer.name}.close", rfc3339(timer.due_us)), timer.due_us)
                self._follow_up(customer, said, "CLOSE", cause, reason, out)
                until_us = min(said.active_until_us, timer.due_us)
                customer.said[i] = said._replace(state="CLOSE", revision=said.revision + 1, active_until_us=until_us)

    def _open(
        self,
        type_: str,
        say: Say,
        episode: str,
        score: float,
        until_us: int,
        customer: Customer,
        cause: Cause,
        model: str | None,
        out: list[Emission],
    ) -> None:
        id_ = signal_id(type_, customer.customer_id, episode, cause.trigger, "OPEN", 1)
        assert say.transaction_ids, "evidence names transactions"
        said = Said(
            type_,
            episode,
            cause.digest,
            cause.time_us,
            until_us,
            id_,
            1,
            score,
            say.transaction_ids[0],
            "OPEN",
            say.kind,
            say.sensitive,
        )
        self._emit(type_, say, said, customer, cause, model, out)
        _remember(customer, said)  # last: what can't be written was not said

    def _follow_up(
        self, customer: Customer, said: Said, state: str, cause: Cause, reason: Reason, out: list[Emission]
    ) -> None:
        """What the engine itself says of an episode, without asking its detector: it keeps the score."""
        say = Say(
            state,  # type: ignore[arg-type]
            (reason,),
            said.kind,
            score=said.score,
            transaction_ids=(said.transaction_id,),
            details={"kind": said.kind} if said.kind else {},
            severity="LOW",
            sensitive=said.sensitive,
        )
        self._emit(said.type, say, said._replace(revision=said.revision + 1), customer, cause, None, out)

    def _emit(
        self,
        type_: str,
        say: Say,
        said: Said,
        customer: Customer,
        cause: Cause,
        model: str | None,
        out: list[Emission],
    ) -> None:
        config = self._configs[type_]
        linked = say.score is None
        trigger, time_us = cause.trigger, cause.time_us
        until_us = say.valid_until_us
        if until_us is None and say.state in ("OPEN", "UPDATE"):
            until_us = time_us + int(config.valid_s * 1e6)
        signal = Signal(
            id=signal_id(type_, customer.customer_id, said.episode, trigger, say.state, said.revision).hex(),
            type=type_,
            customer_id=customer.customer_id,
            event_time=rfc3339(time_us),
            state=say.state,
            episode=said.episode,
            revision=said.revision,
            retracts=said.open_id.hex() if say.state == "RETRACT" else None,
            score=said.score,
            score_link="logit" if linked else "none",
            score_base=None if not linked else config.score_base if say.score_base is None else say.score_base,
            calibrated=say.calibrated,
            confidence=confidence(customer.matured),
            severity=say.severity or ("HIGH" if said.score >= config.severity_high else "MEDIUM"),
            sensitive=say.sensitive,
            details=dict(say.details),
            reasons=say.reasons,
            evidence=Evidence(say.transaction_ids, say.windows),
            counterfactual=None if say.counterfactual is None else dict(say.counterfactual),
            forecast=None if say.forecast is None else dict(say.forecast),
            inputs=dict(say.inputs),
            detector=self._names.get(type_, type_),
            model=model,
            config=self._config_digest,
            valid_until=None if until_us is None else rfc3339(until_us),
            trigger=trigger,
        )
        out.append(Emission(signal, cause.event))


def _over(customer: Customer, said: Said, timer: Timer) -> Reason | None:
    """Why the episode is over, or None if the transaction that had ended it was reversed."""
    if not timer.cause:
        text = "nothing more came in the time set"
        return Reason("QUIET", "last_event_time", rfc3339(said.time_us), None, None, text)
    index = customer.recent_index(timer.cause)
    if index < 0 or not customer.recent[index].learned:
        return None
    id_ = customer.recent[index].transaction_id
    return Reason("ENDED", "transaction_id", id_, None, None, "this payment showed that it was over")


def _end(type_: str, kind: str, customer: Customer, transaction: Transaction, digest: int) -> None:
    """This transaction shows that the open episodes of a kind are over. They end by a timer at its time, which fires when a
    reversal of the transaction can no longer come: a reversed one ends nothing."""
    for said in customer.said:
        if said.type == type_ and said.kind == kind and said.state == "OPEN" and said.time_us <= transaction.time_us:
            ends = sum(1 for timer in customer.timers if timer.cause and timer.episode == said.episode)
            if ends < ENDS_MAX and len(customer.timers) < SAID_MAX:
                customer.timers.append(Timer(transaction.time_us, type_, said.episode, digest))


def _goes_on(customer: Customer, type_: str, kind: str, time_us: int) -> bool:
    """Whether an episode of this type and kind is open around this time."""
    for said in reversed(customer.said):
        if (
            said.type == type_
            and said.kind == kind
            and said.time_us <= time_us <= said.active_until_us
            and said.active_until_us > said.time_us
        ):
            return True
    return False


def _remember(customer: Customer, said: Said) -> None:
    """Signals stay withdrawable for as long as a reversal can find its original, and SAID_MAX of them at most. A timer that belongs
    to a signal goes with it; detectors' own timers, which have no dot in their names, stay."""
    horizon_us = customer.newest_us - customer.ring.retention_us
    kept = [old for old in customer.said if old.time_us >= horizon_us or old.active_until_us >= said.time_us]
    kept = kept[len(kept) + 1 - SAID_MAX :] if len(kept) >= SAID_MAX else kept
    if len(kept) < len(customer.said):
        episodes = {(old.type, old.episode) for old in kept}
        customer.timers = [
            timer for timer in customer.timers if "." not in timer.name or (timer.name, timer.episode) in episodes
        ]
    customer.said = [*kept, said]
