"""Fixed-point units and the rounding of the contracts, on plain integers."""

from typing import NewType

Wad = NewType("Wad", int)  # 18 decimals
Ray = NewType("Ray", int)  # 27 decimals
Bps = NewType("Bps", int)  # 1/10,000

WAD = 10**18
RAY = 10**27
BPS = 10_000
MAX_UINT256 = 2**256 - 1


def mul_div(a: int, b: int, c: int) -> int:
    """Return a * b / c, rounded down."""
    return a * b // c


def mul_div_half_up(a: int, b: int, c: int) -> int:
    """Return a * b / c, rounded to the nearest, halves up (c // 2 is added first)."""
    return (a * b + c // 2) // c


def mul_div_up(a: int, b: int, c: int) -> int:
    """Return a * b / c, rounded up."""
    return -(-a * b // c)


def decimal_string(value: int, decimals: int) -> str:
    """
    Write an integer of `decimals` places as an exact decimal, all places kept.

    `decimal_string(1260522236673173840, 18)` is `"1.260522236673173840"`.
    """
    if decimals == 0:
        return str(value)
    if value < 0:
        return "-" + decimal_string(-value, decimals)
    digits = str(value).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}"


def short_decimal(value: int, decimals: int) -> str:
    """Write like `decimal_string`, without trailing zeros: 8300 bps is `"0.83"`, 0 is `"0"`."""
    text = decimal_string(value, decimals)
    return text.rstrip("0").rstrip(".") if "." in text else text
