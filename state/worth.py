"""What an amount is worth, roughly: so that "small" means the same in yen and in dinars.

Prices are local and rates move, so this tells no more than the size: one digit, as of 2025. It is for thresholds that are given in major
units of a euro, a dollar or a pound and for beliefs about customers who have shown nothing yet; sums and what is shown stay as they are.
"""

from __future__ import annotations

from typing import Final

from state.money import EXPONENT

OF_A_EURO = """
0.3 KWD BHD OMR / 0.7 JOD / 3 BGN TND GEL BYN PEN / 4 PLN AED SAR QAR ILS TMT PGK / 5 RON MYR BRL LYD / 7 DKK CNY TTD BOB / 8 HKD GTQ
10 SEK NOK MAD TJS GHS / 15 BWP ERN SCR MVR / 20 CZK MXN ZAR NAD SZL LSL MDL / 25 SLE STN ZMW / 30 TWD HNL / 40 THB TRY UAH UYU MRU NIO
50 EGP MUR PHP / 60 MKD DOP / 70 MZN AFN GMD / 90 RUB INR KGS / 100 ALL CVE RSD BDT VES / 150 JPY ISK NPR KES DZD ETB JMD HTG XPF VUV
200 LRD DJF / 300 PKR LKR YER / 400 HUF AMD KMF / 500 KZT CRC / 600 XAF XOF SOS SDG / 1000 CLP AOA ARS / 1500 KRW NGN IQD RWF
2000 MMK MWK / 3000 TZS CDF BIF / 4000 UGX KHR MNT COP / 5000 MGA / 8000 PYG / 9000 GNF / 10000 UZS SYP / 20000 IDR LAK / 30000 VND
40000 IRR / 90000 LBP
"""
"""How many units of a currency a euro is about. Those not named, the withdrawn ones too, count as one."""


def _read(table: str) -> dict[str, float]:
    found = dict.fromkeys(EXPONENT, 1.0)
    worth = 1.0
    for word in table.split():
        if word in EXPONENT:
            found[word] = worth
        elif word != "/":
            worth = float(word)
    return found


WORTH: Final = _read(OF_A_EURO)
_MINOR: Final = {currency: worth * 10.0 ** EXPONENT[currency] for currency, worth in WORTH.items()}


def minor_of(euros: float, currency: str) -> float:
    """About so many minor units are worth so many euros; for a euro, a dollar or a pound exactly.

    >>> minor_of(12.0, "EUR"), minor_of(12.0, "JPY"), minor_of(10.0, "KWD")
    (1200.0, 1800.0, 3000.0)
    """
    return euros * _MINOR[currency]
