"""What events tell of the outcomes that intents foresee."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from operators.intent.traces import Product
from state.events import Account, Application, Event, Label

TOPICS: Final = frozenset(("in.accounts", "in.applications", "in.labels"))


def taken(products: Mapping[str, Product], event: Event) -> Iterator[tuple[str, int]]:
    """Products that this event shows to be taken, and when: an application is completed, a label says so, an account says when it
    was opened. The same outcome may be told several times."""
    if isinstance(event, Application):
        if event.status == "completed" and event.product in products:
            yield event.product, event.time_us
    elif isinstance(event, Label):
        if event.label == "product_taken" and event.product is not None and event.product in products:
            yield event.product, event.occurred_us or event.time_us
    elif isinstance(event, Account) and event.opened_us is not None:
        for name, product in products.items():
            if product.account == event.kind:
                yield name, event.opened_us
