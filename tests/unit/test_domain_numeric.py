"""Decimal strings: exact, and with all their places."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.numeric import decimal_string, short_decimal


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (1260522236673173840, 18, "1.260522236673173840"),
        (0, 8, "0.00000000"),
        (7, 1, "0.7"),
        (10**8 - 1, 8, "0.99999999"),
        (10**8, 8, "1.00000000"),
        (-5, 2, "-0.05"),
        (-12345, 2, "-123.45"),
        (12, 0, "12"),
        (-12, 0, "-12"),
    ],
)
def test_an_integer_is_written_with_all_its_places(value: int, places: int, text: str) -> None:
    assert decimal_string(value, places) == text


@given(value=st.integers(-(2**512), 2**512), places=st.integers(0, 40))
def test_no_digit_is_lost_or_made_up(value: int, places: int) -> None:
    with localcontext() as context:
        context.prec = 400
        text = decimal_string(value, places)
        assert Decimal(text) == Decimal(value).scaleb(-places)
        assert Decimal(short_decimal(value, places)) == Decimal(text)
    assert len(text.partition(".")[2]) == places
