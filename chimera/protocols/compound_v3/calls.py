"""The reads of a Comet: how each call is written, and how its answer is understood."""

from __future__ import annotations

from typing import NamedTuple

from eth_utils.address import to_checksum_address

from chimera.domain import abi
from chimera.domain.block import Address
from chimera.domain.call import Answer, Call
from chimera.errors import Refuse
from chimera.protocols.compound_v3.market import FIRST_RESERVED
from chimera.protocols.compound_v3.math import Indexes, Totals

# Comet, with what it passes on to its extension
BASE_TOKEN = bytes.fromhex("c55dae63")
BASE_TOKEN_PRICE_FEED = bytes.fromhex("e7dad6bd")
BASE_SCALE = bytes.fromhex("44c1e5eb")
BASE_INDEX_SCALE = bytes.fromhex("96e7a9c1")
FACTOR_SCALE = bytes.fromhex("0f21d96b")
PRICE_SCALE = bytes.fromhex("a0fbddaf")
NUM_ASSETS = bytes.fromhex("a46fe83b")
GET_ASSET_INFO = bytes.fromhex("c8c7fe6b")
SUPPLY_KINK = bytes.fromhex("a5b4ff79")
SUPPLY_PER_SECOND_INTEREST_RATE_SLOPE_LOW = bytes.fromhex("5a94b8d1")
SUPPLY_PER_SECOND_INTEREST_RATE_SLOPE_HIGH = bytes.fromhex("804de71f")
SUPPLY_PER_SECOND_INTEREST_RATE_BASE = bytes.fromhex("94920cca")
BORROW_KINK = bytes.fromhex("9241a561")
BORROW_PER_SECOND_INTEREST_RATE_SLOPE_LOW = bytes.fromhex("2d05670b")
BORROW_PER_SECOND_INTEREST_RATE_SLOPE_HIGH = bytes.fromhex("2a48cf12")
BORROW_PER_SECOND_INTEREST_RATE_BASE = bytes.fromhex("7914acc7")
STORE_FRONT_PRICE_FACTOR = bytes.fromhex("1f5954bd")
TARGET_RESERVES = bytes.fromhex("32176c49")
TOTALS_BASIC = bytes.fromhex("b9f0baf7")
TOTALS_COLLATERAL = bytes.fromhex("59e017bd")
TOTAL_SUPPLY = bytes.fromhex("18160ddd")
TOTAL_BORROW = bytes.fromhex("8285ef40")
GET_PRICE = bytes.fromhex("41976e09")
USER_BASIC = bytes.fromhex("dc4abafd")
USER_COLLATERAL = bytes.fromhex("2b92a07d")
BORROW_BALANCE_OF = bytes.fromhex("374c49b4")
IS_LIQUIDATABLE = bytes.fromhex("042e02cf")

# Tokens and feeds; a Comet has `balanceOf`, too
BALANCE_OF = bytes.fromhex("70a08231")
SYMBOL = bytes.fromhex("95d89b41")
DESCRIPTION = bytes.fromhex("7284e416")

ASSET_INFO_WORDS, TOTALS_WORDS, USER_WORDS = 8, 8, 5


def user_basic(comet: Address, user: Address) -> Call:
    """Ask for the principal and the bitmaps of an account."""
    return abi.of_address(comet, USER_BASIC, user)


def user_of(comet: Address, call: Call) -> Address | None:
    """Return whose `userBasic` of this Comet the call asks for, or None."""
    ours = call.to == comet and call.data[:4] == USER_BASIC
    return Address(call.data[-20:]) if ours else None


def required(call: Call, answer: Answer, size: int = 1) -> list[int]:
    """
    Return the words of an answer, at least `size` of them.

    Raises:
        Refuse: There are fewer.
    """
    found = abi.words(answer)
    if len(found) < size:
        raise _too_short(call)
    return found


def _too_short(call: Call) -> Refuse:
    return Refuse(
        f"{to_checksum_address(call.to)} does not answer 0x{call.data[:4].hex()} as a "
        "Compound v3 market (Comet) does"
    )


def signed(word: bytes) -> int:
    """Return the signed integer that a word stands for."""
    return int.from_bytes(word, "big", signed=True)


class UserBasic(NamedTuple):
    """Signed principal of an account, and its bitmap over the offsets of all collaterals."""

    principal: int
    bits: int


def user_basic_in(call: Call, answer: Answer) -> UserBasic:
    """Read an answer to `userBasic`. Raises Refuse."""
    if answer is None or len(answer) < USER_WORDS * abi.WORD:
        raise _too_short(call)
    assets_in, reserved = abi.uint_at(answer, 3), abi.uint_at(answer, 4)
    return UserBasic(signed(answer[: abi.WORD]), assets_in | reserved << FIRST_RESERVED)


def totals_in(call: Call, answer: Answer) -> Totals:
    """Read an answer to `totalsBasic`. Raises Refuse."""
    found = required(call, answer, TOTALS_WORDS)
    supply_index, borrow_index, _, _, supply, borrow, accrued_at, pauses = found[:TOTALS_WORDS]
    return Totals(Indexes(supply_index, borrow_index), supply, borrow, accrued_at, pauses)
