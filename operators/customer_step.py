"""The customer step: one transaction in, its score and signals out. The one place where detectors are called and their errors caught."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from operators import profiles
from operators.across import MODEL, Across
from operators.alerts import overdraft_outcomes
from operators.anomaly import transaction as fused
from operators.catalogue import CATALOGUE, read_configs, read_consents
from operators.detector import (
    Answer,
    Detector,
    DetectorConfig,
    Finding,
    Lesson,
    Look,
    Outlook,
    Wake,
    require_finite,
)
from operators.detector_errors import detector_error
from operators.episodes import CONSENT_TIMER, Cause, Episodes
from operators.intent import outlooks
from operators.intent.models import Models
from operators.intent.outcomes import TOPICS as OUTCOME_TOPICS
from operators.knowledge.board import Board
from operators.knowledge.building import intent_priors, make_outlooks
from operators.knowledge.facts import Example, ScoreCount
from operators.view import View
from state.customer import Customer, Recent, Said, Timer
from state.digest import event_digest
from state.events import Consent, Event, Label, MarketRate, Transaction
from state.frozen import FrozenError
from state.policy import TIMER_SPREAD_US, Policy
from state.settings import Settings
from state.signals import DetectorError, EventTrigger, Score, TimerTrigger
from state.step import Emission
from state.times import rfc3339


class Hook(NamedTuple):
    """One hook of one detector, bound to its configuration."""

    name: str
    call: Callable[..., Any]
    config: Any
    make_state: type[Any] | None
    signal: str | None
    while_open: bool
    """Whether it learns only while an episode of its signal is open."""


class CustomerStep:
    """Keeps no state of its own between events: everything about a customer lives in the customer.

    `detector_errors` counts failures by detector name (plain integers, for the metrics).
    """

    def __init__(
        self,
        tables: Mapping[str, Mapping[str, Any]],
        config_digest: str,
        detectors: tuple[Detector, ...] = CATALOGUE,
        across: Across | None = None,
        publishing: profiles.Publishing | None = None,
    ) -> None:
        """`across`: what is learned across customers; None if nothing is. `publishing`: what writes profiles; None if nothing does."""
        priors, self._fused_config, configs = read_configs(tables, detectors)
        self.priors = priors
        self._detectors = [d for d in detectors if configs[d.NAME].enabled]
        self._stateful: list[Any] = [*self._detectors, fused, outlooks, overdraft_outcomes]
        """Modules with states of their own in the customer."""
        if publishing is not None:
            self._stateful.append(profiles)
        board = across.board if across is not None else Board()
        self._board, self._configs = board, configs
        self._bind()
        board.follow({d.NAME for d in self._detectors if hasattr(d, "in_force")}, self._bind)
        self.learns = frozenset(self._event_learners)
        self.finishes = publishing is not None
        self.rated = frozenset(kind for d in self._detectors for kind in getattr(d, "RATED", ()))
        self._versions = {module.NAME: module.VERSION for module in self._stateful}
        self._with_state = {
            d.NAME: (d, msgspec.msgpack.Decoder(d.State)) for d in self._stateful if d.State is not None
        }
        by_signal: dict[str, DetectorConfig] = {d.SIGNAL: configs[d.NAME] for d in detectors if d.SIGNAL}
        names = {d.SIGNAL: f"{d.NAME}@{d.VERSION}" for d in detectors if d.SIGNAL}
        names[fused.SIGNAL] = f"{fused.NAME}@{fused.VERSION}"
        by_signal[fused.SIGNAL] = self._fused_config
        self._episodes = Episodes(by_signal, names, config_digest, read_consents(tables))
        self._fusion = fused.Fusion(self._fused_config, board)
        self._models = Models(board, intent_priors(self._detectors, configs))
        self._outlooks = make_outlooks(tables, self._detectors, configs) if across is not None else None
        self._foreseeing = [(d, configs[d.NAME]) for d in self._detectors if hasattr(d, "outcomes")]
        self.across = across
        self._publishing = publishing
        self._view = View(priors)
        self.detector_errors: dict[str, int] = {}

    def _bind(self) -> None:
        """Binds all hooks to the configurations in force."""
        configs = dict(self._configs)
        for detector in self._detectors:
            if hasattr(detector, "in_force"):
                configs[detector.NAME] = detector.in_force(configs[detector.NAME], self._board.champion(detector.NAME))
        self._bound = self._hooks("step", configs)
        self._learners = self._hooks("learn", configs)
        self._always_learning = [hook for hook in self._learners if not hook.while_open]
        self._learned_while_open = frozenset(hook.signal for hook in self._learners if hook.while_open)
        self._on_timer = self._hooks("on_timer", configs)
        self._lookers = self._hooks("look", configs)
        self._on_event = self._hooks_by_topic("on_event", "TOPICS", configs)
        self._event_learners = self._hooks_by_topic("learn_event", "LEARNS", configs)
        self._rate_hooks = self._hooks("on_rate", configs)

    def _hooks(self, hook: str, configs: Mapping[str, Any]) -> list[Hook]:
        return [
            Hook(
                d.NAME,
                getattr(d, hook),
                configs[d.NAME],
                d.State,
                d.SIGNAL,
                hook == "learn" and getattr(d, "LEARNS_WHILE_OPEN", False),
            )
            for d in self._detectors
            if getattr(d, hook, None) is not None
        ]

    def _hooks_by_topic(self, hook: str, topics: str, configs: Mapping[str, Any]) -> dict[str, list[Hook]]:
        by_topic: dict[str, list[Hook]] = {}
        wanted = {d.NAME: getattr(d, topics, ()) for d in self._detectors}
        for one in self._hooks(hook, configs):
            for topic in sorted(wanted[one.name]):
                by_topic.setdefault(topic, []).append(one)
        return by_topic

    def score(self, customer: Customer, transaction: Transaction, digest: int, out: list[Emission]) -> None:
        """Asks every detector about a new transaction; appends signals and the score to `out`."""
        view = self._view
        view.fill(customer, transaction)
        findings: dict[str, Finding] | None = None
        states = customer.states
        for name, call, config, make_state, signal, _ in self._bound:
            try:
                state = None
                if make_state is not None and (state := states.get(name)) is None:
                    state = states[name] = make_state()
                finding = call(config, state, transaction, view)
                if finding is None:
                    continue
                if not math.isfinite(finding.strength):
                    raise ArithmeticError("a contribution is not finite")
                if signal is not None:
                    self._episodes.find(signal, finding, customer, transaction, digest, None, out)
            except Exception as error:  # noqa: BLE001 - law 3: a detector's failure must not stop the customer's other detectors
                cause = Cause(EventTrigger(transaction.TOPIC, transaction.transaction_id), transaction.time_us)
                out.append(Emission(self._failed(name, customer.customer_id, cause, error), transaction))
                continue
            if finding.reasons and finding.suspicious:
                if findings is None:
                    findings = {}
                findings[name] = finding
        memory = states.get(fused.NAME)
        if memory is None:
            memory = states[fused.NAME] = fused.State()
        verdict = self._fusion.judge(transaction, digest, view, findings, memory)
        if verdict.finding is not None:
            self._episodes.find(fused.SIGNAL, verdict.finding, customer, transaction, digest, verdict.model, out)
        time = rfc3339(transaction.time_us)
        body = Score(transaction.transaction_id, transaction.customer_id, time, verdict.score, verdict.model)
        out.append(Emission(body, transaction))
        if self.across is not None:
            self.across.scored(customer, transaction, digest, verdict.packed, out)
            if verdict.rises:
                count = ScoreCount(MODEL, 0, transaction.time_us, 0, dict(verdict.rises))
                out.append(Emission(count, transaction))

    def react(self, customer: Customer, event: Event, out: list[Emission]) -> None:
        """What detectors say now that the event counts; of a decision about consent, what may no longer be said."""
        if isinstance(event, Label) and self.across is not None:
            fraud_us = self.across.labelled(customer, event, out)
            memory = customer.states.get(fused.NAME)
            if fraud_us is not None and memory is not None:
                memory.tell_fraud(fraud_us)
        if event.TOPIC in OUTCOME_TOPICS and self._outlooks is not None:
            self._become(self._outlooks, customer, event, out)
        if isinstance(event, Consent):
            self._episodes.obey(customer, event, out)
        hooks = self._on_event.get(event.TOPIC)
        if hooks is not None:
            withdrawable = isinstance(event, Transaction) and event.status != "reversed"
            digest = event_digest(event.event_id) if withdrawable else 0
            cause = Cause(EventTrigger(event.TOPIC, event.event_id), event.time_us, digest, event)
            self._ask(hooks, event, customer, cause, out)
        if self._publishing is not None:
            self._publish(self._publishing.changed, customer, event, out)

    def learn(self, customer: Customer, recent: Recent, out: list[Emission]) -> None:
        """What detectors with a state of their own learn from a matured transaction; habits are learned by the profile."""
        cause = Cause(EventTrigger(Transaction.TOPIC, recent.transaction_id), recent.time_us, recent.digest)
        hooks, while_open = self._always_learning, self._learned_while_open
        speaking = [said.type for said in customer.said if said.type in while_open and said.state == "OPEN"]
        if speaking:
            hooks = [hook for hook in self._learners if not hook.while_open or hook.signal in speaking]
        self._ask(hooks, recent, customer, cause, out)

    def learn_event(self, customer: Customer, event: Event, out: list[Emission]) -> None:
        """What detectors learn from a matured event of another topic."""
        cause = Cause(EventTrigger(event.TOPIC, event.event_id), event.time_us)
        self._ask(self._event_learners[event.TOPIC], event, customer, cause, out)

    def tell_rate(self, customer: Customer, rate: MarketRate, out: list[Emission]) -> None:
        """What detectors say of a rate of the market to a holder of one of the accounts in `rated`."""
        cause = Cause(EventTrigger(rate.TOPIC, rate.event_id), rate.time_us, event=rate)
        self._ask(self._rate_hooks, rate, customer, cause, out)

    def _ask(self, hooks: Iterable[Hook], subject: Any, customer: Customer, cause: Cause, out: list[Emission]) -> None:
        """Calls hooks and does what each of them answers. If a hook fails, or a number in its answer is none, nothing of it is done."""
        states = customer.states
        for name, call, config, make_state, signal, _ in hooks:
            try:
                state = None
                if make_state is not None and (state := states.get(name)) is None:
                    state = states[name] = make_state()
                answer = call(config, state, subject, customer)
                if answer and (said := tuple(answer)):  # a generator tells only in the end that it has nothing to say
                    self._do(said, name, signal, customer, cause, out)
            except Exception as error:  # noqa: BLE001 - law 3: a detector's failure must not stop the customer's other detectors
                out.append(Emission(self._failed(name, customer.customer_id, cause, error), cause.event))

    def _do(
        self,
        answer: Answer,
        name: str,
        signal: str | None,
        customer: Customer,
        cause: Cause,
        out: list[Emission],
    ) -> None:
        for one in answer:
            require_finite(one)
        for one in answer:
            if isinstance(one, Look):
                self._look(one, customer, cause, out)
            elif isinstance(one, Wake):
                self._episodes.wake(name, one, customer)
            elif isinstance(one, Outlook):
                self._await(one, signal, customer, out)
            elif isinstance(one, Lesson):
                if self.across is not None and not self._refuses(customer, signal):
                    out.append(Emission(_example(one, customer), None))
            elif signal is not None:
                self._episodes.say(signal, one, customer, cause, out)

    def _look(self, look: Look, customer: Customer, cause: Cause, out: list[Emission]) -> None:
        """Shows the intents a week that is over. What they say stands, should the event that ended the week be reversed."""
        look.week.models = self._models
        self._ask(self._lookers, look.week, customer, cause._replace(digest=0), out)

    def reverse(self, customer: Customer, digest: int) -> None:
        """A transaction was reversed in full: its score is no part of the customer's last days any more."""
        memory = customer.states.get(fused.NAME)
        if memory is not None:
            memory.reverse(digest)

    def _await(self, outlook: Outlook, signal: str | None, customer: Customer, out: list[Emission]) -> None:
        """What an intent saw is to be learned from, unless the customer refuses a purpose that it serves."""
        if self._outlooks is not None and not self._refuses(customer, signal):
            self._outlooks.looked(customer, outlooks.state_of(customer), outlook, out)

    def _become(self, awaited: outlooks.Outlooks, customer: Customer, event: Event, out: list[Emission]) -> None:
        """An event may tell of an outcome that intents foresee."""
        for detector, config in self._foreseeing:
            try:
                for subject, time_us in tuple(detector.outcomes(config, event)):
                    if not self._refuses(customer, detector.SIGNAL):
                        awaited.became(customer, outlooks.state_of(customer), subject, time_us, out)
            except Exception as error:  # noqa: BLE001 - law 3: a detector's failure must not stop the customer's other detectors
                cause = Cause(EventTrigger(event.TOPIC, event.event_id), event.time_us)
                out.append(Emission(self._failed(detector.NAME, customer.customer_id, cause, error), event))

    def _refuses(self, customer: Customer, signal: str | None) -> bool:
        return signal is not None and self._episodes.withheld(customer, signal, False, customer.newest_us) is not None

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
        self._episodes.withdraw(customer, said, Cause(trigger, time_us, event=event), out)

    def on_timer(self, customer: Customer, timer: Timer, out: list[Emission]) -> None:
        """A timer that a detector set for itself, or one that ends an episode or a consent."""
        if timer.name == CONSENT_TIMER:
            self._episodes.expire(customer, timer, out)
            if self._publishing is not None:
                self._publish(self._publishing.expired, customer, timer, out)
        elif timer.name == profiles.NAME and self._publishing is not None:
            self._publish(self._publishing.come_due, customer, None, out)
        if "." in timer.name:
            self._episodes.rest(customer, timer, out)
        for hook in self._on_timer:
            if hook.name == timer.name:
                due = rfc3339(timer.due_us)
                cause = Cause(TimerTrigger(f"{hook.signal or hook.name}.due", due), timer.due_us)
                self._ask((hook,), timer, customer, cause, out)

    def finish(self, customer: Customer, out: list[Emission]) -> None:
        """Bounded input has ended: what was to be told later is told now."""
        if self._publishing is not None and profiles.is_waiting(customer):
            self._publish(self._publishing.finish, customer, None, out)

    def _publish(
        self,
        tell: Callable[[Customer, Any, list[Emission]], None],
        customer: Customer,
        cause_of: Event | Timer | None,
        out: list[Emission],
    ) -> None:
        try:
            tell(customer, cause_of, out)
        except Exception as error:  # noqa: BLE001 - law 3, as for detectors
            event = cause_of if isinstance(cause_of, Event) else None
            topic, id_ = (profiles.NAME, "") if event is None else (event.TOPIC, event.event_id)
            cause = Cause(EventTrigger(topic, id_), customer.newest_us, event=event)
            out.append(Emission(self._failed(profiles.NAME, customer.customer_id, cause, error), event))

    def freeze_states(self, customer: Customer) -> dict[str, list[Any]]:
        """The detectors' own states, each as [version, state], in the order of the catalogue: not of who was asked first."""
        states = customer.states
        return {name: [version, states[name]] for name, version in self._versions.items() if name in states}

    def thaw_states(self, customer: Customer, states: dict[str, tuple[int, msgspec.Raw]]) -> None:
        """States of detectors that are switched off now are dropped: they begin anew when switched on.

        Raises FrozenError for a state of a newer version, or of an older one that the detector has no `upgrade` for.
        """
        for name, (version, raw) in states.items():  # in the order of the bytes, so that they freeze to the same again
            known = self._with_state.get(name)
            if known is None:
                continue
            detector, decoder = known
            if version == detector.VERSION:
                customer.states[name] = decoder.decode(raw)
            else:
                self.require_readable(name, version)
                customer.states[name] = detector.upgrade(version, bytes(raw))

    @property
    def state_versions(self) -> dict[str, int]:
        """What `freeze_states` writes, by detector."""
        return {name: detector.VERSION for name, (detector, _) in self._with_state.items()}

    def require_readable(self, name: str, version: int) -> None:
        """Raises FrozenError for a state of a newer version, or of an older one that the detector has no `upgrade` for."""
        detector = self._with_state[name][0] if name in self._with_state else None
        if detector is None or version == detector.VERSION:
            return
        if version > detector.VERSION or getattr(detector, "upgrade", None) is None:
            raise FrozenError(
                f"the state of detector {name} was written by its version {version}, this release has version "
                f"{detector.VERSION} and no way from the one to the other: start the release that wrote it, or a newer one"
            )

    def _failed(self, name: str, customer_id: str, cause: Cause, error: Exception) -> DetectorError:
        self.detector_errors[name] = self.detector_errors.get(name, 0) + 1
        return detector_error(name, customer_id, cause, error)


def _example(lesson: Lesson, customer: Customer) -> Example:
    name, label = lesson.name, int(lesson.came)
    return Example(lesson.model, customer.customer_id, name, lesson.time_us, lesson.packed, label)


def make_policy(settings: Settings, step: CustomerStep, shards_here: int) -> Policy:
    """The shard's policy out of the settings; the hot customers of a process are shared out among its shards."""
    shard = settings.shard
    return Policy(
        lateness_us=int(shard.allowed_lateness_s * 1e6),
        reorder_wait_us=int(shard.reorder_wait_s * 1e6),
        duplicate_horizon_us=int(shard.duplicate_horizon_s * 1e6),
        fading_factor=step.priors.fading_factor,
        hot_customers_max=max(16, shard.hot_customers_max // max(1, shards_here)),
        timer_spread_us=TIMER_SPREAD_US,
    )
