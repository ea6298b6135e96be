"""The reads of a comptroller and its mTokens: how each is written, how its answer is understood."""

from __future__ import annotations

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from chimera.domain import abi
from chimera.domain.block import Address
from chimera.domain.call import Answer, Call, Slot
from chimera.errors import Refuse

# Comptroller
ORACLE = bytes.fromhex("7dc0d1d0")
GET_ALL_MARKETS = bytes.fromhex("b0772d0b")
CLOSE_FACTOR_MANTISSA = bytes.fromhex("e8755446")
LIQUIDATION_INCENTIVE_MANTISSA = bytes.fromhex("4ada90af")
MARKETS = bytes.fromhex("8e8f294b")
SEIZE_GUARDIAN_PAUSED = bytes.fromhex("ac0b0bb7")
GET_ASSETS_IN = bytes.fromhex("abfceffc")
GET_ACCOUNT_LIQUIDITY = bytes.fromhex("5ec88c79")
IS_DEPRECATED = bytes.fromhex("94543c15")  # later ones of Compound

# Comptroller of Venus
PROTOCOL_PAUSED = bytes.fromhex("425fad58")
ACTION_PAUSED = bytes.fromhex("e85a2960")
IS_FORCED_LIQUIDATION_ENABLED = bytes.fromhex("8c1ac18a")
VAI_CONTROLLER = bytes.fromhex("9254f5e5")
LAST_POOL_ID = bytes.fromhex("a657e579")
POOLS = bytes.fromhex("96c99064")
GET_POOL_VTOKENS = bytes.fromhex("63e0d634")
POOL_MARKETS = bytes.fromhex("3093c11e")
USER_POOL_ID = bytes.fromhex("73769099")

# mToken
UNDERLYING = bytes.fromhex("6f307dc3")
SYMBOL = bytes.fromhex("95d89b41")
DECIMALS = bytes.fromhex("313ce567")
GET_CASH = bytes.fromhex("3b1d21a2")
TOTAL_BORROWS = bytes.fromhex("47bd3718")
TOTAL_RESERVES = bytes.fromhex("8f840ddd")
TOTAL_SUPPLY = bytes.fromhex("18160ddd")
BORROW_INDEX = bytes.fromhex("aa5af0fd")
ACCRUAL_BLOCK_TIMESTAMP = bytes.fromhex("cfa99201")
ACCRUAL_BLOCK_NUMBER = bytes.fromhex("6c540baf")
BORROW_RATE_PER_TIMESTAMP = bytes.fromhex("cd91801c")
BORROW_RATE_PER_BLOCK = bytes.fromhex("f8f9da28")
RESERVE_FACTOR_MANTISSA = bytes.fromhex("173b9904")
PROTOCOL_SEIZE_SHARE_MANTISSA = bytes.fromhex("6752e702")
INTEREST_RATE_MODEL = bytes.fromhex("f3fdb15a")
GET_ACCOUNT_SNAPSHOT = bytes.fromhex("c37f68e2")
BALANCE_OF = bytes.fromhex("70a08231")
BORROW_BALANCE_STORED = bytes.fromhex("95dd9193")

# Rate models
BASE_RATE_PER_TIMESTAMP = bytes.fromhex("40bc0af4")
MULTIPLIER_PER_TIMESTAMP = bytes.fromhex("6c2df6a7")
JUMP_MULTIPLIER_PER_TIMESTAMP = bytes.fromhex("26c394f7")
BASE_RATE_PER_BLOCK = bytes.fromhex("f14039de")
MULTIPLIER_PER_BLOCK = bytes.fromhex("8726bb89")
JUMP_MULTIPLIER_PER_BLOCK = bytes.fromhex("b9f9850a")
KINK = bytes.fromhex("fd2da339")

# Price oracle
GET_UNDERLYING_PRICE = bytes.fromhex("fc57d4df")
GET_FEED = bytes.fromhex("3b39a51c")  # Moonwell
ASSET_PRICES = bytes.fromhex("5e9a523c")  # Moonwell

# Action of Venus, as numbered in its ComptrollerInterface
SEIZE, LIQUIDATE = 4, 5


def of_pool_market(to: Address, selector: bytes, pool: int, mtoken: Address) -> Call:
    """Call a function of a pool's number and a market."""
    return Call(to, selector + pool.to_bytes(abi.WORD, "big") + mtoken.rjust(abi.WORD, b"\0"))


def of_market_action(to: Address, selector: bytes, mtoken: Address, action: int) -> Call:
    """Call a function of a market and a number."""
    return Call(to, selector + mtoken.rjust(abi.WORD, b"\0") + action.to_bytes(abi.WORD, "big"))


def of_text(to: Address, selector: bytes, text: str) -> Call:
    """Call a function of one string."""
    raw = text.encode()
    head = abi.WORD.to_bytes(abi.WORD, "big") + len(raw).to_bytes(abi.WORD, "big")
    return Call(to, selector + head + raw + bytes(-len(raw) % abi.WORD))


def slot(to: Address, position: int) -> Slot:
    """Read the storage word at a position."""
    return Slot(to, position.to_bytes(abi.WORD, "big"))


def entry(to: Address, position: int, user: Address) -> tuple[Slot, Slot]:
    """Read (principal, interestIndex) of a user in the mapping at a position."""
    place = keccak(user.rjust(abi.WORD, b"\0") + position.to_bytes(abi.WORD, "big"))
    following = int.from_bytes(place, "big") + 1
    return Slot(to, place), Slot(to, following.to_bytes(abi.WORD, "big"))


def required(call: Call, answer: Answer) -> int:
    """
    Return the first word.

    Raises:
        Refuse: There is none.
    """
    found = abi.number(answer)
    if found is None:
        raise Refuse(
            f"{to_checksum_address(call.to)} does not answer 0x{call.data[:4].hex()}: "
            "it is not the contract of a Compound v2 family that it should be"
        )
    return found
