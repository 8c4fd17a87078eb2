"""Money: the currency table against its oracle, and amounts that survive text and back to the last digit."""

import math
from decimal import Decimal

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.view import log_mean_in
from state.money import CURRENT, EXPONENT, HISTORIC, AmountError, format_minor, parse_amount, parse_balance
from state.worth import OF_A_EURO, WORTH, minor_of

currencies = st.sampled_from(sorted(EXPONENT))


def test_current_currencies_and_exponents_equal_those_of_iso_4217() -> None:
    official = {currency.code: currency.exponent for currency in iso4217.Currency if currency.exponent is not None}
    assert {code: EXPONENT[code] for code in CURRENT} == official


@pytest.mark.parametrize(
    ("code", "exponent"), [("DEM", 2), ("CSK", 2), ("FRF", 2), ("SKK", 2), ("ITL", 0), ("ESP", 0), ("HRK", 2)]
)
def test_historic_currencies_are_known(code: str, exponent: int) -> None:
    assert code in HISTORIC
    assert EXPONENT[code] == exponent


def test_no_code_is_both_current_and_historic() -> None:
    assert not CURRENT & HISTORIC
    assert set(EXPONENT) == CURRENT | HISTORIC
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in EXPONENT)


@pytest.mark.parametrize("code", ["XAU", "XXX", "XTS", "XDR"])
def test_codes_without_minor_units_are_not_money(code: str) -> None:
    assert code not in EXPONENT


@given(st.integers(-(10**15) + 1, 10**15 - 1), currencies)
def test_a_balance_survives_text_and_back(amount_minor: int, currency: str) -> None:
    assert parse_balance(format_minor(amount_minor, currency), EXPONENT[currency]) == amount_minor


@given(st.integers(0, 10**15 - 1), st.integers(0, 4), st.integers(0, 5))
def test_trailing_zeros_do_not_change_an_amount(amount_minor: int, exponent: int, zeros: int) -> None:
    text = str(Decimal(amount_minor).scaleb(-exponent))
    point = "" if "." in text else "."
    padded = text + point + "0" * zeros if zeros and exponent + zeros <= 5 else text
    assert parse_amount(padded, exponent) == amount_minor


@given(st.from_regex(r"[0-9]{1,15}(\.[0-9]{1,5})?", fullmatch=True).filter(str.isascii), st.integers(0, 4))
def test_an_amount_is_exact_or_refused_for_its_precision(text: str, exponent: int) -> None:
    exact = Decimal(text).scaleb(exponent)
    if exact == exact.to_integral_value():
        assert parse_amount(text, exponent) == exact
    else:
        with pytest.raises(AmountError) as caught:
            parse_amount(text, exponent)
        assert caught.value.code == "amount.precision"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1.",
        ".5",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1e2",
        "1,5",
        "1_0",
        "0x1",
        "NaN",
        "1.123456",
        "1" * 16,
        "--1",
        "1\n",
    ],
)
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(AmountError) as caught:
        parse_amount(text, 2)
    assert caught.value.code == "amount.format"


@pytest.mark.parametrize("text", ["١٢", "²", "１", "1.٥", "৪.00"])
def test_digits_of_other_scripts_are_refused(text: str) -> None:
    with pytest.raises(AmountError) as caught:
        parse_amount(text, 2)
    assert caught.value.code == "amount.format"


@pytest.mark.parametrize("text", ["--1", "-", "- 1", "+1", "-.5"])
def test_a_balance_has_at_most_one_leading_minus(text: str) -> None:
    with pytest.raises(AmountError):
        parse_balance(text, 2)


@pytest.mark.parametrize(
    ("text", "exponent", "minor"), [("0", 2, 0), ("00012.340", 2, 1234), ("5", 0, 5), ("5.000", 0, 5)]
)
def test_zero_leading_zeros_and_padding_are_allowed(text: str, exponent: int, minor: int) -> None:
    assert parse_amount(text, exponent) == minor


def test_what_an_amount_is_worth_is_told_of_known_currencies_once_each() -> None:
    named = [word for word in OF_A_EURO.split() if word.isalpha()]
    assert set(named) <= EXPONENT.keys() and len(named) == len(set(named))
    assert {currency for currency, worth in WORTH.items() if worth != 1.0} == set(named)
    assert {WORTH[currency] for currency in ("EUR", "USD", "GBP", "CHF")} == {1.0}
    assert (minor_of(20, "EUR"), minor_of(20, "JPY"), minor_of(20, "CZK"), minor_of(20, "KWD")) == (
        2000,
        3000,
        40000,
        6000,
    )


def test_an_everyday_purchase_of_a_customer_who_has_shown_nothing_is_one_in_the_currency() -> None:
    assert log_mean_in(3.4, "EUR") == 3.4
    assert {currency: round(math.expm1(log_mean_in(3.4, currency))) for currency in ("JPY", "CZK", "KWD")} == {
        "JPY": 4345,
        "CZK": 579,
        "KWD": 9,
    }
