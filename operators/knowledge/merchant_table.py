"""The merchant table: how many transactions each merchant had and how many turned out to be fraud, within 1, 7 and 30 days.

Facts of an open bucket are only counted; `close` publishes rows of what is known at its end. All counts are integers by slot of
time (as long as a bucket), so the order in which a bucket's facts come does not matter. Frauds are counted where they became
known, transactions where they happened: their ratio within a window is the rate at which this merchant's transactions turn out
to be fraud, however long that takes, as long as its business is steady.

A run is what a compromised merchant shows: frauds upon frauds, without a slot of undisputed business between them. A slot counts as
undisputed once labels for it would have come: the table learns how long labels take.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from operators.knowledge.facts import UNLABELLED, MerchantFact
from state.windows import DAY_US

WINDOWS_US: Final = (DAY_US, 7 * DAY_US, 30 * DAY_US)
POPULATION: Final = "population"
MERCHANT: Final = "merchant"
RUN_DAYS_MAX: Final = 45
"""So long slots are kept: a window of 30 days of which labels come two weeks late."""
DELAY_DAYS_MAX: Final = 90
SLOTS_ITEM: Final = "slots/"
META_ITEM: Final = "meta"

Counts = list[int]
"""[transactions, labelled, frauds] in a slot: transactions when they happened, labels when they became known; and the frauds
that happened in it, as far as they are known."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table [merchants] of config/detectors.toml."""

    merchants_max: Annotated[int, Meta(ge=8)] = 200_000
    """Of one key; the least recently seen leave."""
    prior_rate: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.002
    prior_transactions: Annotated[float, Meta(gt=0.0)] = 10_000.0
    """How many transactions the prior rate is worth against what the population shows."""
    merchant_weight: Annotated[float, Meta(gt=0.0)] = 30.0
    """How many transactions the population's rate is worth against what one merchant shows."""
    label_delay_days: Annotated[int, Meta(ge=0, le=DELAY_DAYS_MAX)] = 7
    """How long labels take, until the table has learned it."""
    label_delay_weight: Annotated[float, Meta(gt=0.0)] = 20.0
    """How many labels this belief is worth."""
    label_delay_share: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.9
    """A transaction counts as undisputed when this share of labels would have come."""


class MerchantRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What was known of a merchant at `effective_from_us`, the end of a bucket. Windows end there.

    A row of scope `population` speaks of all merchants of one key; its `merchant_id` is the key's name. A merchant's row
    without transactions and labels in 30 days says that nothing is known of it any longer.
    """

    merchant_id: str
    effective_from_us: int
    scope: str
    n_1d: int
    n_7d: int
    n_30d: int
    labelled_1d: int
    labelled_7d: int
    labelled_30d: int
    frauds_1d: int
    frauds_7d: int
    frauds_30d: int
    rate_1d: float
    """Frauds that became known in the window for each transaction in it, shrunk to `prior`; so for 7 and 30 days."""
    rate_7d: float
    rate_30d: float
    prior: float
    """The rate of the population then."""
    run: int = 0
    """Frauds in the newest run, if no undisputed business came after it."""
    run_from_us: int = 0
    """When the run began: the slot of its first fraud; 0 without a run."""

    @property
    def empty(self) -> bool:
        return not self.n_30d and not self.labelled_30d


class MerchantTable:
    """One key's merchants: at most `merchants_max` after each close, each with the slots of 30 days.

    The facts of a bucket, and only they, are to be added between the close of the bucket before and its own. Within a bucket
    twice as many merchants can be met; those beyond are left out and counted in `left_out`.
    """

    def __init__(self, name: str, config: Config, bucket_us: int) -> None:
        self.name = name
        self.left_out = 0
        self._config = config
        self._bucket_us = bucket_us
        self._spans = tuple(max(1, length_us // bucket_us) for length_us in WINDOWS_US)
        """The windows in slots."""
        self._slots: dict[str, dict[int, Counts]] = {}
        """By merchant: slot number → counts."""
        self._population: dict[int, Counts] = {}
        self._delays: dict[int, float] = {}
        """Labels of frauds by how many days they took, fading."""
        self._kept = max(self._spans[-1], RUN_DAYS_MAX * DAY_US // bucket_us)
        self._touched: set[str] = set()
        """Merchants with facts since the last close."""
        self._due: dict[int, set[str]] = {}
        """By the slot at whose close something leaves a window of theirs: merchants."""
        self._dirty: set[str] = set()
        """Merchants changed since the last freeze."""
        self._suspects: set[str] = set()
        """Merchants with a fraud in a slot: whether their run is still on changes with time alone."""

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, fact: MerchantFact) -> None:
        slots = self._slots.get(fact.merchant_id)
        if slots is None:
            if len(self._slots) >= 2 * self._config.merchants_max:
                self.left_out += 1
                return
            slots = self._slots[fact.merchant_id] = {}
        number = fact.time_us // self._bucket_us
        for sums in (self._slot(slots, fact.merchant_id, number), self._population.setdefault(number, [0, 0, 0, 0])):
            if fact.label == UNLABELLED:
                sums[0] += 1
            else:
                sums[1] += 1
                sums[2] += fact.label
        if fact.label > 0 and fact.occurred_us:
            days = min(DELAY_DAYS_MAX, max(0, fact.time_us - fact.occurred_us) // DAY_US)
            self._delays[days] = self._delays.get(days, 0.0) + 1.0
            self._slot(slots, fact.merchant_id, fact.occurred_us // self._bucket_us)[3] += 1
            self._suspects.add(fact.merchant_id)
        self._touched.add(fact.merchant_id)
        self._dirty.add(fact.merchant_id)

    def close(self, bucket_end_us: int) -> list[MerchantRow]:
        """The population's row, then those of the merchants whose counts changed since the last close, by id."""
        last = bucket_end_us // self._bucket_us - 1
        first = last - self._kept + 1
        _drop_before(self._population, first)
        delay = self._label_delay()
        population = self._row(self.name, POPULATION, self._population, last, self._config.prior_rate, delay)
        rows = [population]
        changed = self._touched | self._suspects
        for number in [number for number in self._due if number <= last]:
            changed |= self._due.pop(number)
        for merchant_id in sorted(changed):
            slots = self._slots.get(merchant_id)
            if slots is None:
                continue
            if _drop_before(slots, first):
                self._dirty.add(merchant_id)
            if not slots:
                del self._slots[merchant_id]
            if merchant_id in self._suspects and not any(counts[3] for counts in slots.values()):
                self._suspects.discard(merchant_id)
            rows.append(self._row(merchant_id, MERCHANT, slots, last, population.rate_30d, delay))
        rows += self._evict(last, population.rate_30d)
        fading = 0.5 ** (self._bucket_us / (DELAY_DAYS_MAX * DAY_US))
        self._delays = {days: labels * fading for days, labels in self._delays.items()}
        self._touched = set()
        return rows

    def freeze(self) -> dict[str, bytes]:
        """What changed since the last `freeze`, by item; empty bytes for an item that is gone."""
        items = {
            SLOTS_ITEM + merchant_id: msgspec.msgpack.encode(slots) if slots else b""
            for merchant_id in sorted(self._dirty)
            for slots in (self._slots.get(merchant_id),)
        }
        self._dirty.clear()
        items[META_ITEM] = msgspec.msgpack.encode(
            [self._population, sorted(self._touched), self.left_out, self._delays]
        )
        return items

    def thaw(self, items: dict[str, bytes]) -> None:
        """The state of all items ever frozen and not gone since."""
        self._slots, self._due, self._suspects = {}, {}, set()
        for item, raw in items.items():
            if item.startswith(SLOTS_ITEM) and raw:
                merchant_id = item[len(SLOTS_ITEM) :]
                self._slots[merchant_id] = slots = msgspec.msgpack.decode(raw, type=dict[int, Counts])
                for number in slots:
                    self._expect(merchant_id, number)
                if any(counts[3] for counts in slots.values()):
                    self._suspects.add(merchant_id)
        meta = msgspec.msgpack.decode(items[META_ITEM], type=tuple[dict[int, Counts], set[str], int, dict[int, float]])
        self._population, self._touched, self.left_out, self._delays = meta
        self._dirty.clear()

    def _slot(self, slots: dict[int, Counts], merchant_id: str, number: int) -> Counts:
        counts = slots.get(number)
        if counts is None:
            counts = slots[number] = [0, 0, 0, 0]
            self._expect(merchant_id, number)
        return counts

    def _label_delay(self) -> int:
        """How many slots must pass before business without a label counts as undisputed."""
        config = self._config
        wanted = config.label_delay_share * (sum(self._delays.values()) + config.label_delay_weight)
        seen = 0.0
        for days in range(DELAY_DAYS_MAX + 1):
            seen += self._delays.get(days, 0.0) + (
                config.label_delay_weight if days == config.label_delay_days else 0.0
            )
            if seen >= wanted - 1e-9:
                break
        return -(-(days + 1) * DAY_US // self._bucket_us)

    def _expect(self, merchant_id: str, number: int) -> None:
        """A slot enters the windows at its own close and leaves each a window's length later; a run it may end before."""
        for span in (0, *self._spans, self._kept):
            self._due.setdefault(number + span, set()).add(merchant_id)

    def _row(
        self, merchant_id: str, scope: str, slots: dict[int, Counts], last: int, prior: float, delay: int
    ) -> MerchantRow:
        """A population is shrunk to the prior of the config, a merchant to its population."""
        weight = self._config.prior_transactions if scope == POPULATION else self._config.merchant_weight
        day, week, month = (_sum(slots, last - span + 1, last) for span in self._spans)
        run, began = (0, 0) if scope == POPULATION else _run(slots, last - delay)
        return MerchantRow(
            merchant_id,
            (last + 1) * self._bucket_us,
            scope,
            n_1d=day[0],
            n_7d=week[0],
            n_30d=month[0],
            labelled_1d=day[1],
            labelled_7d=week[1],
            labelled_30d=month[1],
            frauds_1d=day[2],
            frauds_7d=week[2],
            frauds_30d=month[2],
            rate_1d=_rate(day, weight, prior),
            rate_7d=_rate(week, weight, prior),
            rate_30d=_rate(month, weight, prior),
            prior=prior,
            run=run,
            run_from_us=began * self._bucket_us,
        )

    def _evict(self, last: int, prior: float) -> list[MerchantRow]:
        """Beyond the limit the least recently seen leave, an eighth at a time; an empty row each says so."""
        excess = len(self._slots) - self._config.merchants_max
        if excess <= 0:
            return []
        count = max(excess, self._config.merchants_max // 8)
        leaving = sorted(self._slots, key=lambda merchant_id: (max(self._slots[merchant_id]), merchant_id))[:count]
        for merchant_id in leaving:
            del self._slots[merchant_id]
            self._dirty.add(merchant_id)
            self._suspects.discard(merchant_id)
        return [self._row(merchant_id, MERCHANT, {}, last, prior, 0) for merchant_id in leaving]


def _sum(slots: dict[int, Counts], first: int, last: int) -> Counts:
    total = [0, 0, 0]
    for number, counts in slots.items():
        if first <= number <= last:
            total[0] += counts[0]
            total[1] += counts[1]
            total[2] += counts[2]
    return total


def _run(slots: dict[int, Counts], undisputed_until: int) -> tuple[int, int]:
    """Frauds of the run that is still on, and its first slot; (0, 0) without one."""
    run = began = 0
    for number in sorted(slots):
        transactions, _, _, frauds = slots[number]
        if frauds:
            began = began if run else number
            run += frauds
        elif transactions and number <= undisputed_until:
            run = began = 0
    return run, began


def _rate(counts: Counts, weight: float, prior: float) -> float:
    """Frauds for each transaction, the prior being worth `weight` transactions. Labels may come for more than there were."""
    return (counts[2] + weight * prior) / (max(counts[0], counts[1]) + weight)


def _drop_before(slots: dict[int, Counts], first: int) -> bool:
    stale = [number for number in slots if number < first]
    for number in stale:
        del slots[number]
    return bool(stale)
