"""What passes between bank and customer: consents, campaigns, a few messages."""

from __future__ import annotations

from simulation.life import Life
from simulation.randomness import Draws

PURPOSES = (
    ("service", 100, "contract"),
    ("marketing", 75, "consent"),
    ("profiling", 85, "consent"),
    ("health", 55, "consent"),
    ("sharing", 30, "consent"),
)
CAMPAIGNS = (
    ("spring-saver", "savings"),
    ("card-plus", "credit_card"),
    ("home-dream", "mortgage"),
    ("safe-trip", "insurance"),
)
QUESTIONS = {
    "en": (
        "Please tell me how to raise my card limit.",
        "Is my new address in your files?",
        "The app logs me out. Can you help?",
    ),
    "de": (
        "Wie ändere ich mein Kartenlimit?",
        "Ist meine neue Adresse gespeichert?",
        "Die App meldet mich ständig ab.",
    ),
    "fr": (
        "Comment relever le plafond de ma carte ?",
        "Ma nouvelle adresse est-elle connue ?",
        "L'application me déconnecte.",
    ),
}
ANSWERS = {"en": "Thank you, we have taken care of it.", "de": "Danke, das ist erledigt.", "fr": "Merci, c'est fait."}


def keep_in_touch(life: Life) -> None:
    """Consents on the first day, later some revoked; campaigns for those who agreed; now and then a question."""
    draws = life.draws("contact")
    granted = decide_consents(life, draws)
    if "marketing" in granted:
        run_campaigns(life, draws, granted["marketing"])
    for day in range(draws.below(200), life.horizon, 200):
        if draws.chance(45):
            write(life, draws, day)


def decide_consents(life: Life, draws: Draws) -> dict[str, int]:
    """Purpose to the day on which the consent ends; most people grant, one in twenty revokes later."""
    granted: dict[str, int] = {}
    for purpose, share_pct, basis in PURPOSES:
        given = draws.chance(share_pct)
        changes = [(0, "granted" if given else "revoked")]
        granted |= {purpose: life.days} if given else {}
        if given and purpose != "service" and draws.chance(5):
            changes.append((draws.between(20, life.horizon - 1), "revoked"))
            granted[purpose] = changes[-1][0]
        for day, status in changes:
            at_us = life.time_us(day, draws.between(1200, 80_000) if day else 600 + draws.below(600))
            if status == "revoked":
                life.refusals.append((purpose, at_us))
            life.say(
                at_us, "in.consents", decided_at=life.text(at_us), purpose=purpose, status=status, legal_basis=basis
            )
    return granted


def run_campaigns(life: Life, draws: Draws, last_day: int) -> None:
    for day in range(draws.below(30), min(last_day, life.horizon), 30):
        campaign, offer = draws.pick(CAMPAIGNS)
        channel = draws.pick(("app", "email", "web"))
        at_us = life.time_us(day, draws.between(30_000, 70_000))
        kinds = ["impression"]
        if draws.chance(12):
            kinds.append(draws.pick(("click", "click", "click", "dismiss", "dismiss")))
        if kinds[-1] == "click" and draws.chance(6):
            kinds.append("conversion")
        for kind in kinds:
            life.say(
                at_us, "in.touchpoints", "p-", "touchpoint_id",
                occurred_at=life.text(at_us), kind=kind, campaign=campaign, channel=channel, offer=offer,
            )  # fmt: skip
            at_us += draws.between(20, 7200) * 1_000_000


def write(life: Life, draws: Draws, day: int) -> None:
    """A question and, within a day, its answer."""
    language = life.person.language
    at_us = life.time_us(day, draws.between(28_000, 78_000))
    letters = (
        (draws.pick(QUESTIONS[language]), "in", at_us),
        (ANSWERS[language], "out", at_us + draws.between(600, 7000) * 1_000_000),
    )
    for text, direction, sent_us in letters:
        life.say(
            sent_us, "in.messages", "n-", "message_id",
            sent_at=life.text(sent_us), text=text, channel="chat", direction=direction, language=language,
        )  # fmt: skip
