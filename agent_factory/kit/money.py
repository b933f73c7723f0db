"""Money as exact decimals: strings on the wire, never floats."""

from decimal import ROUND_HALF_EVEN, Decimal

_PLACES = Decimal("0.00000001")
"""Eight places: a single token of the cheapest models costs about 1e-8 USD."""


def usd(amount: Decimal) -> str:
    """Write an amount in USD as a plain decimal string, without an exponent."""
    rounded = amount.quantize(_PLACES, rounding=ROUND_HALF_EVEN) + 0  # which turns minus zero into zero
    return f"{rounded:f}".rstrip("0").rstrip(".") or "0"
