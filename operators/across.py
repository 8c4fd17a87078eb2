"""What the customer step tells and asks across customers: facts for the merchant table, labelled examples for the learner, and the
board of what came of them.

A label never changes the past: what was scored stays scored. It makes an example of the features as they were then, and tells
the merchant table what became known of the shop. All of it takes effect with the versions of later buckets.
"""

from __future__ import annotations

from collections import Counter

from operators.knowledge.board import Board
from operators.knowledge.facts import TRANSACTION, Example, MerchantFact
from state.awaiting import Awaited, EarlyLabel
from state.customer import Customer
from state.digest import digest64
from state.events import Label, Transaction
from state.settings import KnowledgeSettings
from state.step import Emission

MODEL = TRANSACTION
LABELS = {"fraud": 1, "not_fraud": 0}
COUNTED = ("awaiting", "joined", "early", "unknown", "unlabelled", "crowded_out")


class Across:
    """Keeps nothing between events but `counts` (for the metrics): what waits for a label waits in the customer.

    counts: transactions that began to wait (`awaiting`), labels `joined` to their transaction, `early` ones (kept for a transaction to
    come), `unknown` ones (of no transaction that waits), transactions `unlabelled` when the horizon passed, and `crowded_out` before it.
    """

    def __init__(self, settings: KnowledgeSettings, board: Board) -> None:
        self.board = board
        self.counts: Counter[str] = Counter()
        self._horizon_us = settings.label_horizon_us
        self._late_us = settings.label_late_us
        self._awaiting_max = settings.awaiting_max
        self._share = settings.negative_share
        self._kept_below = int(settings.negative_share * 2.0**64)

    def scored(
        self, customer: Customer, transaction: Transaction, digest: int, features: bytes, out: list[Emission]
    ) -> None:
        """A transaction was scored from `features`: tells its merchant's table, and lets it wait for a label."""
        awaiting = customer.awaiting
        self._expire(customer, out)
        merchant_id = transaction.merchant_id
        if merchant_id is not None and transaction.direction == "debit":
            fact = MerchantFact(merchant_id, transaction.time_us, customer.customer_id, transaction.transaction_id)
            out.append(Emission(fact, transaction))
        entry = Awaited(digest, transaction.time_us, merchant_id, features)
        early = awaiting.recall(transaction.transaction_id) if awaiting.early else None
        if early is not None:
            self._join(customer, entry, early, merchant_id, out)
            return
        if not features:
            return  # there is nothing to learn from it
        awaiting.add(entry)
        self.counts["awaiting"] += 1
        if len(awaiting) > self._awaiting_max:
            # Of one that has not expired nobody knows yet what it was: it is no example at all, rather than a wrong one.
            self.counts["crowded_out"] += not awaiting.expired
            awaiting.pop_oldest()

    def labelled(self, customer: Customer, label: Label, out: list[Emission]) -> int | None:
        """Somebody says what a transaction was. The first word counts; a later one still tells the merchant's table.

        Returns when the fraud was (microseconds UTC); None if it was none, or if nobody knows when it was."""
        self._expire(customer, out)
        value = LABELS.get(label.label)
        if value is None:
            return None
        told = label.merchant_id is not None
        said = EarlyLabel(label.arrival_us, label.transaction_id or "", value, told)
        digest = digest64(said.transaction_id)
        entry = customer.awaiting.take(digest) if label.transaction_id is not None else None
        if entry is not None:
            self._join(customer, entry, said._replace(told=False), label.merchant_id, out)
            return entry.time_us if value else None
        if label.transaction_id is None or customer.ring.find(digest) >= 0:
            self.counts["unknown"] += 1
        else:
            customer.awaiting.remember(said)
            self.counts["early"] += 1
        self._tell_merchant(label.merchant_id, customer, said, label.occurred_us or 0, out)
        return label.occurred_us if value else None

    def _join(
        self, customer: Customer, entry: Awaited, label: EarlyLabel, merchant_id: str | None, out: list[Emission]
    ) -> None:
        self.counts["joined"] += 1
        id_ = label.transaction_id
        if entry.features:
            example = Example(MODEL, customer.customer_id, id_, entry.time_us, entry.features, label.label)
            out.append(Emission(example, None))
        if not label.told:
            self._tell_merchant(entry.merchant_id or merchant_id, customer, label, entry.time_us, out)

    def _tell_merchant(
        self, merchant_id: str | None, customer: Customer, label: EarlyLabel, occurred_us: int, out: list[Emission]
    ) -> None:
        if merchant_id is not None:
            fact = MerchantFact(
                merchant_id,
                label.known_us,
                customer.customer_id,
                label.transaction_id,
                label.label,
                occurred_us,
            )
            out.append(Emission(fact, None))

    def _expire(self, customer: Customer, out: list[Emission]) -> None:
        """What nobody disputed until the horizon was no fraud. A share of it is learned, for all of it. A fraud that is told of later is
        learned all the same, as long as what was seen of it is kept: its alarm was right."""
        awaiting = customer.awaiting
        horizon_us = customer.newest_us - self._horizon_us
        for entry in awaiting.expire(horizon_us):
            self.counts["unlabelled"] += 1
            if entry.digest < self._kept_below:
                name = f"#{entry.digest:016x}"
                example = Example(
                    MODEL, customer.customer_id, name, entry.time_us, entry.features, 0, 1.0 / self._share
                )
                out.append(Emission(example, None))
        awaiting.forget(horizon_us - self._late_us)
        if awaiting.early:
            awaiting.early = [label for label in awaiting.early if label.known_us > horizon_us]
