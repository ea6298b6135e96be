"""The reads of the singleton, IRMs, oracles and tokens: how they are written and understood."""

from __future__ import annotations

from functools import lru_cache

from eth_utils.address import to_checksum_address

from chimera.domain import abi
from chimera.domain.block import Address
from chimera.domain.call import LONGEST_ANSWER, Answer, BoundedCall, Call
from chimera.domain.market import Token
from chimera.domain.numeric import Wad
from chimera.errors import Refuse
from chimera.protocols.morpho_blue.market import Id, PreLiquidation, Quote, Terms
from chimera.protocols.morpho_blue.math import Totals

# Morpho
OWNER = bytes.fromhex("8da5cb5b")
FEE_RECIPIENT = bytes.fromhex("46904840")
DOMAIN_SEPARATOR = bytes.fromhex("3644e515")
MARKET = bytes.fromhex("5c60e39a")
POSITION = bytes.fromhex("93c52062")
ID_TO_MARKET_PARAMS = bytes.fromhex("2c3c9157")

# AdaptiveCurveIrm; the first one also of a pre-liquidation contract
MORPHO = bytes.fromhex("3acb5624")
RATE_AT_TARGET = bytes.fromhex("01977b57")
BORROW_RATE_VIEW = bytes.fromhex("8c00bf6b")

# Oracles and tokens
PRICE = bytes.fromhex("a035b1fe")
SYMBOL = bytes.fromhex("95d89b41")
DECIMALS = bytes.fromhex("313ce567")

# Pre-liquidation contracts
ID = bytes.fromhex("b3cea217")
PRE_LIQUIDATION_PARAMS = bytes.fromhex("1d553cee")

ORACLE_GAS = 2_000_000  # for an oracle that nobody vouches for
TOKEN_GAS = 200_000
LONGEST_SYMBOL = 32  # characters
MOST_DECIMALS = 77  # a uint256 has 78 digits


def of_market(to: Address, selector: bytes, market: Id) -> Call:
    """Call a function of one market id."""
    return Call(to, selector + market)


def position(singleton: Address, market: Id, user: Address) -> Call:
    """Ask for the position of a user in a market."""
    return Call(singleton, POSITION + market + user.rjust(abi.WORD, b"\0"))


@lru_cache(maxsize=4096)  # the same ones go out at every block
def price(oracle: Address) -> Call:
    """Ask an oracle that answered well before."""
    return Call(oracle, PRICE)


def wary_price(oracle: Address) -> BoundedCall:
    """Ask an oracle that is new, or that failed."""
    return BoundedCall(oracle, PRICE, gas=ORACLE_GAS)


def wary(to: Address, selector: bytes) -> BoundedCall:
    """Call a function without arguments of a contract that nobody vouches for."""
    return BoundedCall(to, selector, gas=TOKEN_GAS)


def rate_view(terms: Terms, totals: Totals) -> Call:
    """Ask a market's IRM for the average rate from the stored time to the block's."""
    stored = (
        totals.supply_assets,
        totals.supply_shares,
        totals.borrow_assets,
        totals.borrow_shares,
        totals.updated,
        totals.fee,
    )
    words_of = b"".join(value.to_bytes(abi.WORD, "big") for value in stored)
    return Call(terms.irm, BORROW_RATE_VIEW + terms.words + words_of)


# --- answers -------------------------------------------------------------------------------------


def required(call: Call, answer: Answer, count: int) -> list[int]:
    """
    Return the first `count` words.

    Raises:
        Refuse: There are fewer.
    """
    found = abi.words(answer)
    if len(found) < count:
        raise Refuse(
            f"{to_checksum_address(call.to)} does not answer 0x{call.data[:4].hex()}: "
            "it is not the Morpho Blue contract that it should be"
        )
    return found[:count]


def totals(found: list[int]) -> Totals:
    """Return what `market(id)` says."""
    return Totals(*found[:6])


def terms(found: list[int]) -> Terms:
    """Return what `idToMarketParams(id)`, or a `CreateMarket` log, says."""
    loan, collateral, oracle, irm = (abi.as_address(word) for word in found[:4])
    return Terms(loan, collateral, oracle, irm, Wad(found[4]))


def quote(answer: Answer) -> Quote:
    """Return what an oracle answered; a call of the contract reverts where there is a fault."""
    if answer is None:
        return Quote(None, "the oracle reverts, or needs too much gas, or answers too much")
    if abi.WORD <= len(answer) <= LONGEST_ANSWER:
        return Quote(abi.uint_at(answer, 0))
    if len(answer) > LONGEST_ANSWER:  # asked without bounds, it may send any amount
        return Quote(None, "the oracle answers too much")
    return Quote(None, "the oracle's answer is cut short" if answer else "the oracle has no code")


def token(address: Address, symbol: Answer, decimals: Answer) -> Token:
    """
    Return a token as it calls itself, or a printable stand-in.

    A symbol that is no text, or longer than anybody would read, becomes a short address. Decimals
    that no amount can have become 0, so that amounts are shown in the smallest unit.
    """
    places = abi.number(decimals)
    if places is None or places > MOST_DECIMALS:
        places = 0
    return Token(_text(symbol) or f"0x{address[:4].hex()}", places)


def _text(answer: Answer) -> str:
    """Return a symbol that people can read; nothing for one that is longer than any."""
    text = abi.text(answer)
    return text if len(text) <= LONGEST_SYMBOL else ""


def preliquidation(market: int, answer: Answer) -> PreLiquidation | None:
    """Return what `preLiquidationParams()` says; None if that is no set of parameters."""
    found = abi.words(answer)
    if len(found) < 6:  # noqa: PLR2004  (words of the struct)
        return None
    lltv, close_low, close_high, incentive_low, incentive_high = map(Wad, found[:5])
    return PreLiquidation(
        market=Id(market.to_bytes(abi.WORD, "big")),
        lltv=lltv,
        close_low=close_low,
        close_high=close_high,
        incentive_low=incentive_low,
        incentive_high=incentive_high,
        oracle=abi.as_address(found[5]),
    )
