"""Money as integer minor units: which currencies there are, and amounts between text and integer, exactly.

The exponents are those of ISO 4217 list one (published 2026-01-01). ISO gives none for withdrawn codes (list three);
those without a minor unit in use are the ones that the JDK lists. Codes without a minor unit by definition (gold, SDR,
test and "no currency") are no money that can be counted in minor units, so they are unknown here.
"""

from __future__ import annotations

_CURRENT = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU
CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES
KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR
NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP
TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF
BHD IQD JOD KWD LYD OMR TND
CLF UYW
"""
_HISTORIC = """
ADP AFA ALK ANG AOK AON AOR ARA ARP ARY ATS AYM AZM BAD BEC BEF BEL BGJ BGK BGL BGN BOP BRB BRC BRE BRN BRR BUK BYB BYR
CHC CSD CSJ CSK CUC CYP DDM DEM ECS ECV EEK ESA ESB ESP FIM FRF GEK GHC GHP GNE GNS GQE GRD GWE GWP HRD HRK IEP ILP ILR
ISJ ITL LAJ LSM LTL LTT LUC LUF LUL LVL LVR MGF MLF MRO MTL MTP MVQ MXP MZE MZM NIC NLG PEH PEI PES PLZ PTE RHD ROK ROL
RUR SDD SDP SIT SKK SLL SRG STD SUR TJR TMM TPE TRL UAK UGS UGW USS UYN UYP VEB VEF VNC XEU YDD YUD YUM YUN ZAL ZMK ZRN
ZRZ ZWC ZWD ZWL ZWN ZWR
"""
_EXPONENTS = {
    0: """BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF
          ADP BEF BYB BYR ESP GRD ITL LUF MGF PTE TPE TRL""",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

CURRENT: frozenset[str] = frozenset(_CURRENT.split())
HISTORIC: frozenset[str] = frozenset(_HISTORIC.split())
EXPONENT: dict[str, int] = dict.fromkeys(sorted(CURRENT | HISTORIC), 2) | {
    code: exponent for exponent, codes in _EXPONENTS.items() for code in codes.split()
}

WHOLE_DIGITS_MAX = 15
DECIMALS_MAX = 5
AMOUNT_PATTERN = rf"[0-9]{{1,{WHOLE_DIGITS_MAX}}}(\.[0-9]{{1,{DECIMALS_MAX}}})?"


class AmountError(ValueError):
    """Text that is no amount. `code` is `amount.format`, or `amount.precision` for digits that the currency lacks."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse_amount(text: str, exponent: int) -> int:
    """An unsigned decimal as minor units, exactly. Raises AmountError.

    >>> parse_amount("12.340", 2), parse_amount("7", 3), parse_amount("1250.0", 0)
    (1234, 7000, 1250)
    """
    whole, point, decimals = text.partition(".")
    if not (
        text.isascii()
        and whole.isdigit()
        and len(whole) <= WHOLE_DIGITS_MAX
        and (not point or (decimals.isdigit() and len(decimals) <= DECIMALS_MAX))
    ):
        raise AmountError("amount.format", f"not an unsigned decimal of the form {AMOUNT_PATTERN}")
    if len(decimals) > exponent:
        if decimals[exponent:].strip("0"):
            raise AmountError("amount.precision", f"more than {exponent} decimals that are not zero")
        return int(whole + decimals[:exponent])
    return int(whole + decimals.ljust(exponent, "0"))


def parse_balance(text: str, exponent: int) -> int:
    """Like `parse_amount`, but one leading minus is allowed.

    >>> parse_balance("-0.05", 2)
    -5
    """
    return -parse_amount(text[1:], exponent) if text.startswith("-") else parse_amount(text, exponent)


def format_minor(amount_minor: int, currency: str) -> str:
    """Minor units as decimal text with all decimals of the currency. Raises KeyError for an unknown currency.

    >>> format_minor(-5, "EUR"), format_minor(1250, "JPY"), format_minor(1, "KWD")
    ('-0.05', '1250', '0.001')
    """
    exponent = EXPONENT[currency]
    digits = str(abs(amount_minor)).rjust(exponent + 1, "0")
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}" if exponent else sign + digits
