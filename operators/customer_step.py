"""The customer step: one transaction in, its score and signals out. The one place where detectors are called and their errors caught."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from operators.anomaly import transaction as fused
from operators.catalogue import CATALOGUE, read_configs
from operators.detector import Detector, DetectorConfig, Finding, Learn, confidence
from operators.view import View
from state.customer import SAID_MAX, Customer, Recent, Said, Timer
from state.estimators import sigmoid
from state.events import Transaction
from state.frozen import FrozenError
from state.settings import Settings
from state.shard import Emission, Policy
from state.signals import (
    DetectorError,
    EventTrigger,
    Evidence,
    Reason,
    Score,
    Signal,
    State,
    TimerTrigger,
    Trigger,
    signal_id,
)
from state.times import rfc3339

ENDS_MAX = 8
"""Transactions noted to have ended one episode: more than one, should the first be reversed."""

_state_encoder = msgspec.msgpack.Encoder()


class CustomerStep:
    """Keeps no state of its own between events: everything about a customer lives in the customer.

    `detector_errors` counts failures by detector name (plain integers, for the metrics).
    """

    def __init__(
        self, tables: Mapping[str, Mapping[str, Any]], config_digest: str, detectors: tuple[Detector, ...] = CATALOGUE
    ) -> None:
        priors, self._fused_config, self._configs = read_configs(tables)
        self.priors = priors
        self._detectors = [d for d in detectors if self._configs[d.NAME].enabled]
        self._bound = [(d.NAME, d.step, self._configs[d.NAME], d.State, d.SIGNAL) for d in self._detectors]
        self._learners: list[tuple[str, Learn, Any, type[Any]]] = [
            (d.NAME, learn, self._configs[d.NAME], d.State)
            for d in self._detectors
            if d.State is not None and (learn := getattr(d, "learn", None)) is not None
        ]
        self._score_of_nothing = sigmoid(self._fused_config.score_base)
        self._by_signal: dict[str, DetectorConfig] = {d.SIGNAL: self._configs[d.NAME] for d in detectors if d.SIGNAL}
        self._names = {d.SIGNAL: f"{d.NAME}@{d.VERSION}" for d in detectors if d.SIGNAL}
        self._names[fused.SIGNAL] = f"{fused.NAME}@{fused.VERSION}"
        self._by_signal[fused.SIGNAL] = self._fused_config
        self._model = fused.model(self._fused_config)
        self._view = View(priors)
        self._config_digest = config_digest
        self.detector_errors: dict[str, int] = {}

    def score(self, customer: Customer, transaction: Transaction, digest: int, out: list[Emission]) -> None:
        """Asks every detector about a new transaction; appends signals and the score to `out`."""
        view = self._view
        view.fill(customer, transaction)
        findings: dict[str, Finding] | None = None
        for name, step, config, make_state, signal in self._bound:
            try:
                state = None
                if make_state is not None:
                    state = customer.states.get(name)
                    if state is None:
                        state = customer.states[name] = make_state()
                finding = step(config, state, transaction, view)
                if finding is not None and not math.isfinite(finding.strength):
                    raise ArithmeticError("a contribution is not finite")
            except Exception as error:  # noqa: BLE001 - law 3: a detector's failure must not stop the customer's other detectors
                out.append(Emission(self._failed(name, transaction, error), transaction))
                continue
            if finding is not None:
                if finding.reasons and finding.suspicious:
                    if findings is None:
                        findings = {}
                    findings[name] = finding
                if signal is not None:
                    self._speak(signal, finding, customer, transaction, digest, None, out)
        score = self._score_of_nothing
        if findings is not None:
            fusion = fused.fuse(self._model, findings)
            score = sigmoid(self._fused_config.score_base + fusion.strength)
            if score >= self._fused_config.threshold:
                self._speak(fused.SIGNAL, fusion, customer, transaction, digest, self._model.version, out)
        time = rfc3339(transaction.time_us)
        body = Score(transaction.transaction_id, transaction.customer_id, time, score, self._model.version)
        out.append(Emission(body, transaction))

    def learn(self, customer: Customer, recent: Recent) -> None:
        """What detectors with a state of their own learn from a matured transaction; habits are learned by the profile."""
        for name, learn, config, make_state in self._learners:
            state = customer.states.get(name)
            if state is None:
                state = customer.states[name] = make_state()
            try:
                learn(config, state, recent, customer)
            except Exception:  # noqa: BLE001 - law 3: a detector's failure must not stop the profile
                self.detector_errors[name] = self.detector_errors.get(name, 0) + 1

    def withdraw(
        self,
        customer: Customer,
        said: Said,
        trigger: EventTrigger,
        time_us: int,
        event: Transaction,
        out: list[Emission],
    ) -> None:
        """Takes back a signal whose transaction was reversed by `trigger` at `time_us`. `event` is what was just read: that
        reversal, or the transaction itself if its reversal had come before it."""
        reason = Reason(
            "REVERSED", "transaction_id", said.transaction_id, None, None, "the transaction that caused it was reversed"
        )
        out.append(
            Emission(self._follow_up(customer, said, "RETRACT", trigger, time_us, reason, said.open_id.hex()), event)
        )

    def on_timer(self, customer: Customer, timer: Timer, out: list[Emission]) -> None:
        """An episode whose quiet time has passed ends; so does one that a transaction has ended, if that one still stands."""
        for i, said in enumerate(customer.said):
            if said.type == timer.name and said.episode == timer.episode and said.state == "OPEN":
                reason = self._over(customer, said, timer)
                if reason is None:
                    return
                trigger = TimerTrigger(f"{timer.name}.close", rfc3339(timer.due_us))
                out.append(
                    Emission(self._follow_up(customer, said, "CLOSE", trigger, timer.due_us, reason, None), None)
                )
                until_us = min(said.active_until_us, timer.due_us)
                customer.said[i] = said._replace(state="CLOSE", revision=said.revision + 1, active_until_us=until_us)

    def _over(self, customer: Customer, said: Said, timer: Timer) -> Reason | None:
        """Why the episode is over, or None if the transaction that had ended it was reversed."""
        if not timer.cause:
            return Reason(
                "QUIET", "last_event_time", rfc3339(said.time_us), None, None, "nothing more came in the time set"
            )
        index = customer.recent_index(timer.cause)
        if index < 0 or not customer.recent[index].learned:
            return None
        id_ = customer.recent[index].transaction_id
        return Reason("ENDED", "transaction_id", id_, None, None, "this payment showed that it was over")

    def freeze_states(self, customer: Customer) -> dict[str, list[Any]]:
        versions = {detector.NAME: detector.VERSION for detector in self._detectors}
        return {name: [versions.get(name, 1), _state_encoder.encode(state)] for name, state in customer.states.items()}

    def thaw_states(self, customer: Customer, states: dict[str, list[Any]]) -> None:
        """States of detectors that are switched off now are dropped: they begin anew when switched on.

        Raises FrozenError for a state of a newer version, or of an older one that the detector has no `upgrade` for.
        """
        for detector in self._detectors:
            if detector.State is None or detector.NAME not in states:
                continue
            version, raw = states[detector.NAME]
            upgrade = getattr(detector, "upgrade", None)
            if version == detector.VERSION:
                customer.states[detector.NAME] = msgspec.msgpack.decode(raw, type=detector.State)
            elif version < detector.VERSION and upgrade is not None:
                customer.states[detector.NAME] = upgrade(version, raw)
            else:
                raise FrozenError(
                    f"the state of detector {detector.NAME} was written by its version {version}, this release has version "
                    f"{detector.VERSION} and no way from the one to the other: start the release that wrote it, or a newer one"
                )

    def _speak(
        self,
        type_: str,
        finding: Finding,
        customer: Customer,
        transaction: Transaction,
        digest: int,
        model: str | None,
        out: list[Emission],
    ) -> None:
        config = self._by_signal[type_]
        if finding.ends:
            self._end(type_, finding.ends, customer, transaction, digest)
        if not finding.reasons:
            return
        score = sigmoid(config.score_base + finding.strength)
        if score < config.threshold or self._goes_on(customer, type_, finding.kind, transaction.time_us):
            return
        episode = transaction.transaction_id
        trigger = EventTrigger(transaction.TOPIC, transaction.transaction_id)
        id_ = signal_id(type_, customer.customer_id, episode, trigger, "OPEN", 1)
        quiet_s = config.quiet_s if finding.quiet_s is None else finding.quiet_s
        until_us = transaction.time_us + int(quiet_s * 1e6)
        said = Said(
            type_,
            episode,
            digest,
            transaction.time_us,
            until_us,
            id_,
            1,
            score,
            transaction.transaction_id,
            "OPEN",
            finding.kind,
            finding.sensitive,
        )
        _remember_said(customer, said)
        if quiet_s:
            customer.timers.append(Timer(until_us, type_, episode))
        ids = (transaction.transaction_id, *(i for i in finding.transaction_ids if i != transaction.transaction_id))
        signal = Signal(
            id=id_.hex(),
            type=type_,
            customer_id=customer.customer_id,
            event_time=rfc3339(transaction.time_us),
            state="OPEN",
            episode=episode,
            revision=1,
            retracts=None,
            score=score,
            score_link="logit",
            score_base=config.score_base,
            calibrated=False,
            confidence=confidence(customer.matured),  # type: ignore[arg-type]
            severity="HIGH" if score >= config.severity_high else "MEDIUM",
            sensitive=finding.sensitive,
            details=dict(finding.details),
            reasons=finding.reasons,
            evidence=Evidence(ids, finding.windows),
            counterfactual=None,
            forecast=None,
            inputs={},
            detector=self._names[type_],
            model=model,
            config=self._config_digest,
            valid_until=rfc3339(transaction.time_us + int(config.valid_s * 1e6)),
            trigger=trigger,
        )
        out.append(Emission(signal, transaction))

    def _end(self, type_: str, kind: str, customer: Customer, transaction: Transaction, digest: int) -> None:
        """This transaction shows that the open episodes of a kind are over. They end by a timer at its time, which fires when a
        reversal of the transaction can no longer come: a reversed one ends nothing."""
        for said in customer.said:
            if (
                said.type == type_
                and said.kind == kind
                and said.state == "OPEN"
                and said.time_us <= transaction.time_us
            ):
                ends = sum(1 for timer in customer.timers if timer.cause and timer.episode == said.episode)
                if ends < ENDS_MAX and len(customer.timers) < SAID_MAX:
                    customer.timers.append(Timer(transaction.time_us, type_, said.episode, digest))

    def _goes_on(self, customer: Customer, type_: str, kind: str, time_us: int) -> bool:
        """Whether an episode of this type and kind is open around this time."""
        return any(
            said.type == type_
            and said.kind == kind
            and said.time_us <= time_us <= said.active_until_us
            and said.active_until_us > said.time_us
            for said in customer.said
        )

    def _follow_up(
        self,
        customer: Customer,
        said: Said,
        state: State,
        trigger: Trigger,
        time_us: int,
        reason: Reason,
        retracts: str | None,
    ) -> Signal:
        revision = said.revision + 1
        return Signal(
            id=signal_id(said.type, customer.customer_id, said.episode, trigger, state, revision).hex(),
            type=said.type,
            customer_id=customer.customer_id,
            event_time=rfc3339(time_us),
            state=state,
            episode=said.episode,
            revision=revision,
            retracts=retracts,
            score=said.score,
            score_link="none",
            score_base=None,
            calibrated=False,
            confidence=confidence(customer.matured),  # type: ignore[arg-type]
            severity="LOW",
            sensitive=said.sensitive,
            details={"kind": said.kind} if said.kind else {},
            reasons=(reason,),
            evidence=Evidence((said.transaction_id,)),
            counterfactual=None,
            forecast=None,
            inputs={},
            detector=self._names.get(said.type, said.type),
            model=None,
            config=self._config_digest,
            valid_until=None,
            trigger=trigger,
        )

    def _failed(self, name: str, transaction: Transaction, error: Exception) -> DetectorError:
        self.detector_errors[name] = self.detector_errors.get(name, 0) + 1
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{place.tb_lineno}" if place is not None else ""
        return DetectorError(
            detector=name,
            customer_id=transaction.customer_id,
            event_time=rfc3339(transaction.time_us),
            topic=transaction.TOPIC,
            event_id=transaction.transaction_id,
            error=type(error).__name__,
            message=where,
        )


def _remember_said(customer: Customer, said: Said) -> None:
    """Signals stay withdrawable for as long as a reversal can find its original, and SAID_MAX of them at most. Each timer belongs to
    a signal, so timers are bounded by the same number."""
    horizon_us = customer.newest_us - customer.ring.retention_us
    kept = [old for old in customer.said if old.time_us >= horizon_us or old.active_until_us >= said.time_us]
    kept = kept[len(kept) + 1 - SAID_MAX :] if len(kept) >= SAID_MAX else kept
    if len(kept) < len(customer.said):
        episodes = {(old.type, old.episode) for old in kept}
        customer.timers = [timer for timer in customer.timers if (timer.name, timer.episode) in episodes]
    customer.said = [*kept, said]


def make_policy(settings: Settings, step: CustomerStep, shards_here: int) -> Policy:
    """The shard's policy out of the settings; the hot customers of a process are shared out among its shards."""
    shard = settings.shard
    return Policy(
        lateness_us=int(shard.allowed_lateness_s * 1e6),
        reorder_wait_us=int(shard.reorder_wait_s * 1e6),
        duplicate_horizon_us=int(shard.duplicate_horizon_s * 1e6),
        fading_factor=step.priors.fading_factor,
        hot_customers_max=max(16, shard.hot_customers_max // max(1, shards_here)),
    )
