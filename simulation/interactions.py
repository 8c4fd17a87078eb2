"""What customers do in the app besides paying: log in, look at pages, search."""

from __future__ import annotations

import numpy as np

from simulation.almanac import DAY_US, SECOND_US
from simulation.life import TOPIC, Life

PAGES = (
    "accounts",
    "transactions",
    "cards",
    "payments",
    "budget",
    "profile",
    "savings",
    "offers",
    "help",
    "statements",
)
PRODUCT_PAGES = tuple(
    f"{product}/{page}"
    for product in ("mortgage", "loan", "credit_card", "savings", "investment", "insurance")
    for page in ("rates", "overview", "terms", "guide", "compare")
)
KINDS = ("search", "click", "calculator", *("page",) * 9)
SEARCHES = (
    "change pin",
    "standing order",
    "statement pdf",
    "iban",
    "limit",
    "exchange rate",
    "house prices",
    "refix rate",
)
STEPS_MAX = 4


def use_app(life: Life) -> None:
    """Sessions of one login and up to four pages; fewer where a story lowered `engagement_pct`."""
    draws = life.draws("app")
    rates = life.person.logins_weekly_milli * life.engagement_pct / 700_000.0
    days = np.nonzero(draws.uniforms(life.days) < rates)[0]
    count = len(days)
    seconds = np.clip(50_000 + draws.normals(count) * 12, 22_000, 84_000)
    times_us = (life.almanac.start_us + days * DAY_US + seconds * SECOND_US).tolist()
    words = draws.words(count * (STEPS_MAX + 1)).reshape(count, STEPS_MAX + 1).tolist()
    ids = iter(draws.hex_ids(count * (STEPS_MAX + 2), 16))
    topic, events, text = TOPIC["in.interactions"], life.events, life.almanac.text
    for time_us, lots in zip(times_us, words, strict=True):
        device = life.devices[lots[0] % len(life.devices)]
        tail = f'","channel":"app","session_id":"s-{next(ids)}","device_id":"{device}'
        for step in range(1 + (lots[0] >> 20) % STEPS_MAX):
            lot = lots[step]
            if step == 0:
                kind = "login"
            elif lot % 12 == 0:
                kind = f'search","query":"{SEARCHES[(lot >> 8) % len(SEARCHES)]}'
            else:
                pages = PRODUCT_PAGES if lot % 12 < 3 else PAGES
                kind = f'{KINDS[lot % 12]}","page":"{pages[(lot >> 8) % len(pages)]}'
            body = (
                f'{{"interaction_id":"i-{next(ids)}","customer_id":"{life.customer_id}","occurred_at":"{text(time_us)}",'
                f'"kind":"{kind}{tail}","dwell_s":{3 + (lot >> 30) % 90}'
            )
            events.append((time_us, topic, body))
            time_us += (4 + (lot >> 30) % 90) * SECOND_US
