"""Spending groups: every code that merchants really use has one."""

import iso18245
import pytest

from state.categories import GROUPS, group_of


def test_every_listed_merchant_category_has_a_group_of_its_own() -> None:
    ungrouped = [row.mcc for row in iso18245.get_all_mccs() if GROUPS[group_of(row.mcc, "card_present")] == "other"]
    assert ungrouped == []


@pytest.mark.parametrize(
    ("mcc", "channel", "group"),
    [
        ("5411", "card_present", "groceries"),
        ("5812", "card_present", "restaurants"),
        ("5541", "card_present", "fuel"),
        ("4111", "ecommerce", "transport"),
        ("3001", "ecommerce", "travel"),
        ("3501", "ecommerce", "lodging"),
        ("8062", "card_present", "medical"),
        ("5912", "card_present", "pharmacy"),
        ("7995", "ecommerce", "gambling"),
        ("9311", "transfer", "government"),
        ("6011", "atm", "cash"),
        (None, "atm", "cash"),
        (None, "fee", "financial"),
        (None, "card_present", "other"),
        ("0000", "card_present", "other"),
    ],
)
def test_a_code_wins_over_the_channel_and_the_channel_helps_without_one(
    mcc: str | None, channel: str, group: str
) -> None:
    assert GROUPS[group_of(mcc, channel)] == group


def test_groups_are_few_distinct_and_begin_with_other() -> None:
    assert GROUPS[0] == "other"
    assert len(set(GROUPS)) == len(GROUPS) < 127
