"""The merchant table: how much business each merchant did, and how much of it turned out to be fraud, within 1, 7 and 30 days.

Facts of an open bucket are only counted; `close` publishes rows of what is known at its end. All counts are integers by slot of
time (as long as a bucket), so the order in which a bucket's facts come does not matter.

Frauds are counted where they happened, not where they became known: their share of the business is only told of slots for which
labels would have come by now, and the table learns how long labels take. A fraud that is known sooner counts at once: a merchant's rate
with what came since, all of it undisputed so far, is at least that. What a compromised merchant shows best is a streak:
slot after slot in which at least half of the business turned out to be fraud.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from operators.knowledge.facts import UNLABELLED, MerchantFact
from operators.knowledge.merchant_row import MERCHANT, POPULATION, MerchantRow
from state.windows import DAY_US

WINDOWS_US: Final = (DAY_US, 7 * DAY_US, 30 * DAY_US)
DELAY_DAYS_MAX: Final = 30
KEPT_DAYS: Final = 30 + DELAY_DAYS_MAX
"""So long slots are kept: a window of 30 days whose labels take as many."""
VERSION: Final = 1
"""Of what `freeze` writes. It goes up with whatever another release would read wrongly."""
SLOTS_ITEM: Final = "slots/"
META_ITEM: Final = "meta"

Counts = list[int]
"""[transactions, frauds] that happened in a slot, as far as they are known."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table [merchants] of config/detectors.toml."""

    merchants_max: Annotated[int, Meta(ge=8)] = 200_000
    """Of one key; the least recently seen leave."""
    prior_rate: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.002
    prior_transactions: Annotated[float, Meta(gt=0.0)] = 10_000.0
    """How many transactions the prior rate is worth against what the population shows."""
    merchant_weight: Annotated[float, Meta(gt=0.0)] = 2.0
    """How many transactions the population's rate is worth against what one merchant shows."""
    label_delay_days: Annotated[int, Meta(ge=0, le=DELAY_DAYS_MAX)] = 7
    """How long labels take, until the table has learned it."""
    label_delay_weight: Annotated[float, Meta(gt=0.0)] = 20.0
    """How many labels this belief is worth."""
    label_delay_share: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.9
    """A slot is settled when this share of labels would have come."""


class MerchantTable:
    """One key's merchants: at most `merchants_max` after each close, each with the slots of `KEPT_DAYS`.

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
        self._kept = max(1, KEPT_DAYS * DAY_US // bucket_us)
        self._slots: dict[str, dict[int, Counts]] = {}
        """By merchant: slot number → counts."""
        self._population: dict[int, Counts] = {}
        self._delays: dict[int, float] = {}
        """Labels of frauds by how many days they took, fading."""
        self._dirty: set[str] = set()
        """Merchants changed since the last freeze."""

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, fact: MerchantFact) -> None:
        """A label without the time of its transaction is taken to be as late as labels usually are."""
        if not fact.label:
            return  # undisputed is what nobody disputes: business that is fine was counted when it happened
        slots = self._slots.get(fact.merchant_id)
        if slots is None:
            if len(self._slots) >= 2 * self._config.merchants_max:
                self.left_out += 1
                return
            slots = self._slots[fact.merchant_id] = {}
        column, time_us = 0, fact.time_us
        if fact.label != UNLABELLED:
            column, time_us = 1, fact.occurred_us or fact.time_us - self._config.label_delay_days * DAY_US
            if fact.occurred_us:
                days = min(DELAY_DAYS_MAX, max(0, fact.time_us - fact.occurred_us) // DAY_US)
                self._delays[days] = self._delays.get(days, 0.0) + 1.0
        number = time_us // self._bucket_us
        for table in (slots, self._population):
            counts = table.get(number)
            if counts is None:
                counts = table[number] = [0, 0]
            counts[column] += 1
        self._dirty.add(fact.merchant_id)

    def close(self, bucket_end_us: int) -> list[MerchantRow]:
        """The population's row, then all merchants' rows by id: windows move on, so all rows change with every bucket. Merchants
        of whom nothing is left get an empty row once."""
        last = bucket_end_us // self._bucket_us - 1
        first = last - self._kept + 1
        settled = last - self._label_delay()
        _drop_before(self._population, first)
        population = self._row(self.name, POPULATION, self._population, last, settled, self._config.prior_rate)
        prior = population.rate_30d
        rows = [population]
        for merchant_id in sorted(self._slots):
            slots = self._slots[merchant_id]
            if _drop_before(slots, first):
                self._dirty.add(merchant_id)
            if not slots:
                del self._slots[merchant_id]
            rows.append(self._row(merchant_id, MERCHANT, slots, last, settled, prior))
        leaving = self._evict()
        rows += [self._row(merchant_id, MERCHANT, {}, last, settled, prior) for merchant_id in leaving]
        fading = 0.5 ** (self._bucket_us / (DELAY_DAYS_MAX * DAY_US))
        self._delays = {days: labels * fading for days, labels in self._delays.items()}
        return rows

    def freeze(self) -> dict[str, bytes]:
        """What changed since the last `freeze`, by item; empty bytes for an item that is gone."""
        items: dict[str, bytes] = {}
        for merchant_id in sorted(self._dirty):
            slots = self._slots.get(merchant_id)
            items[SLOTS_ITEM + merchant_id] = msgspec.msgpack.encode(slots) if slots else b""
        self._dirty.clear()
        items[META_ITEM] = msgspec.msgpack.encode([self._population, self.left_out, self._delays])
        return items

    def thaw(self, items: dict[str, bytes]) -> None:
        """The state of all items ever frozen and not gone since."""
        self._slots = {
            item[len(SLOTS_ITEM) :]: msgspec.msgpack.decode(raw, type=dict[int, Counts])
            for item, raw in items.items()
            if item.startswith(SLOTS_ITEM) and raw
        }
        meta: Any = msgspec.msgpack.decode(items[META_ITEM], type=tuple[dict[int, Counts], int, dict[int, float]])
        self._population, self.left_out, self._delays = meta
        self._dirty.clear()

    def _label_delay(self) -> int:
        """How many slots back business without a label counts as undisputed."""
        config = self._config
        wanted = config.label_delay_share * (
            sum(self._delays[days] for days in sorted(self._delays)) + config.label_delay_weight
        )
        seen, days = 0.0, 0
        for days in range(DELAY_DAYS_MAX + 1):
            seen += self._delays.get(days, 0.0)
            seen += config.label_delay_weight if days == config.label_delay_days else 0.0
            if seen >= wanted - 1e-9:
                break
        return -(-days * DAY_US // self._bucket_us)

    def _row(
        self, merchant_id: str, scope: str, slots: dict[int, Counts], last: int, settled: int, prior: float
    ) -> MerchantRow:
        """A population is shrunk to the prior of the config, a merchant to its population."""
        weight = self._config.prior_transactions if scope == POPULATION else self._config.merchant_weight
        day, week, month = self._spans
        n_1d = n_7d = n_30d = settled_1d = settled_7d = settled_30d = frauds_1d = frauds_7d = frauds_30d = 0
        newest_fraud = -1
        since = frauds_since = 0
        for number, (transactions, frauds) in slots.items():
            age = last - number
            if 0 <= age < month:
                n_30d += transactions
                if age < week:
                    n_7d += transactions
                    if age < day:
                        n_1d += transactions
            if number > settled:
                since += transactions
                frauds_since += frauds
            age = settled - number
            if 0 <= age < month:
                settled_30d += transactions
                frauds_30d += frauds
                if age < week:
                    settled_7d += transactions
                    frauds_7d += frauds
                    if age < day:
                        settled_1d += transactions
                        frauds_1d += frauds
            if frauds and number > newest_fraud:
                newest_fraud = number

        def rate(transactions: int, frauds: int) -> float:
            shrunk = (frauds + weight * prior) / (max(transactions, frauds) + weight)
            if not frauds_since or scope == POPULATION:
                return shrunk
            transactions, frauds = transactions + since, frauds + frauds_since
            return max(shrunk, (frauds + weight * prior) / (max(transactions, frauds) + weight))

        streak, began = (0, 0) if newest_fraud < 0 or scope == POPULATION else _streak(slots, settled)
        return MerchantRow(
            merchant_id,
            (last + 1) * self._bucket_us,
            scope,
            n_1d,
            n_7d,
            n_30d,
            settled_1d,
            settled_7d,
            settled_30d,
            frauds_1d,
            frauds_7d,
            frauds_30d,
            rate_1d=rate(settled_1d, frauds_1d),
            rate_7d=rate(settled_7d, frauds_7d),
            rate_30d=rate(settled_30d, frauds_30d),
            prior=prior,
            streak=streak,
            streak_from_us=began * self._bucket_us,
            fraud_us=(newest_fraud + 1) * self._bucket_us if newest_fraud >= 0 else 0,
            empty=not slots,
        )

    def _evict(self) -> list[str]:
        """Beyond the limit the least recently seen leave, an eighth at a time."""
        excess = len(self._slots) - self._config.merchants_max
        if excess <= 0:
            return []
        count = max(excess, self._config.merchants_max // 8)
        leaving = sorted(self._slots, key=lambda merchant_id: (max(self._slots[merchant_id]), merchant_id))[:count]
        for merchant_id in leaving:
            del self._slots[merchant_id]
            self._dirty.add(merchant_id)
        return leaving


def _streak(slots: dict[int, Counts], settled: int) -> tuple[int, int]:
    """Frauds of the streak that reaches up to the settled slot, and the slot in which it began; (0, 0) without one."""
    streak = began = 0
    for number in sorted(slots, reverse=True):
        transactions, frauds = slots[number]
        if number > settled or not (transactions or frauds):
            continue
        if 2 * frauds < transactions:
            break
        streak += frauds
        began = number
    return streak, began


def _drop_before(slots: dict[int, Counts], first: int) -> bool:
    if not slots or min(slots) >= first:
        return False
    stale = [number for number in slots if number < first]
    for number in stale:
        del slots[number]
    return True
