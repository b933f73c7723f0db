"""Money on the wire."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.kit.money import usd


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("1", "1"),
        ("100", "100"),
        ("1E+3", "1000"),
        ("0.50", "0.5"),
        ("0.00000001", "0.00000001"),
        ("1E-8", "0.00000001"),
        ("0.000000005", "0"),  # half to even
        ("0.000000015", "0.00000002"),
        ("-0.000000001", "0"),
        ("-1.10", "-1.1"),
        ("123456789.123456789", "123456789.12345679"),
    ],
)
def test_an_amount_is_a_plain_decimal(amount: str, written: str) -> None:
    assert usd(Decimal(amount)) == written


@given(st.decimals(-(10**12), 10**12, places=8))
def test_eight_places_are_exact(amount: Decimal) -> None:
    written = usd(amount)
    assert Decimal(written) == amount
    assert "E" not in written.upper()
