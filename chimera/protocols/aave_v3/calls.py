"""The reads of a pool: how each call is written, and how its answer is understood."""

from __future__ import annotations

from dataclasses import dataclass

from eth_utils.address import to_checksum_address

from chimera.domain import abi
from chimera.domain.block import Address
from chimera.domain.call import Answer, Call, Grid, Readings, Words
from chimera.domain.numeric import Bps, Ray
from chimera.errors import Refuse
from chimera.protocols.aave_v3.market import Configuration, Mode
from chimera.protocols.aave_v3.math import Rates

# PoolAddressesProvider
GET_POOL = bytes.fromhex("026b1d5f")
GET_POOL_CONFIGURATOR = bytes.fromhex("631adfca")
GET_PRICE_ORACLE = bytes.fromhex("fca513a8")
GET_PRICE_ORACLE_SENTINEL = bytes.fromhex("5eb88d3d")

# Pool
POOL_REVISION = bytes.fromhex("0148170e")
GET_RESERVES_LIST = bytes.fromhex("d1946dbc")
GET_RESERVE_DATA = bytes.fromhex("35ea6a75")
GET_EMODE_CATEGORY_DATA = bytes.fromhex("6c6f6ae1")
GET_USER_CONFIGURATION = bytes.fromhex("4417a583")
GET_USER_EMODE = bytes.fromhex("eddf1b79")
GET_USER_ACCOUNT_DATA = bytes.fromhex("bf92857c")
GET_LIQUIDATION_GRACE_PERIOD = bytes.fromhex("5c9a8b18")  # 3.1 and later
GET_EMODE_CATEGORY_BORROWABLE_BITMAP = bytes.fromhex("903a2c71")  # 3.2 and later

# PriceOracleSentinel
IS_LIQUIDATION_ALLOWED = bytes.fromhex("7a5d20ea")

# AaveOracle
GET_ASSET_PRICE = bytes.fromhex("b3596f07")
BASE_CURRENCY = bytes.fromhex("e19f4700")
BASE_CURRENCY_UNIT = bytes.fromhex("8c89b64f")

# Tokens
SCALED_BALANCE_OF = bytes.fromhex("1da24f3e")
SCALED_TOTAL_SUPPLY = bytes.fromhex("b1bf962d")
TOTAL_SUPPLY = bytes.fromhex("18160ddd")
ATOKEN_REVISION = bytes.fromhex("0bd7ad3b")
DEBT_TOKEN_REVISION = bytes.fromhex("b9a7b622")
SYMBOL = bytes.fromhex("95d89b41")

# Getters that tell the revisions apart, since forks renumber POOL_REVISION
GET_VIRTUAL_UNDERLYING_BALANCE = bytes.fromhex("6fb07f96")  # 3.1 and later
GET_EMODE_CATEGORY_COLLATERAL_BITMAP = bytes.fromhex("b0771dba")  # 3.2
GET_RESERVE_DEFICIT = bytes.fromhex("c952485d")  # 3.3
RESERVE_INTEREST_RATE_STRATEGY = bytes.fromhex("1b8feb0e")  # 3.4
GET_EMODE_CATEGORY_LTVZERO_BITMAP = bytes.fromhex("fd89dee5")  # 3.6
GET_IS_EMODE_CATEGORY_ISOLATED = bytes.fromhex("05f68acb")  # 3.7


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
            "it is not the Aave v3 contract that it should be"
        )
    return found


def first_words(grid: Grid, answers: Readings) -> bytes:
    """
    Return the first word of each answer to a grid, in a row.

    Raises:
        Refuse: One of them has none.
    """
    if isinstance(answers, Words) and answers.grid is grid:
        return answers.content
    return b"".join([required(call, answers[call]).to_bytes(abi.WORD, "big") for call in grid])


@dataclass(frozen=True, slots=True)
class ReserveData:
    """The parts of DataTypes.ReserveData that count: 15 words, ReserveDataLegacy of later ones."""

    configuration: int
    rates: Rates
    bit: int
    supply_token: Address
    stable_debt_token: Address
    debt_token: Address


def reserve_data(answer: Answer) -> ReserveData | None:
    """Return what `getReserveData` says; None for an asset that is not listed."""
    found = abi.words(answer)
    if len(found) < 15 or found[8] == 0:  # noqa: PLR2004  (words of the struct)
        return None
    config, income, lending, debt, borrowing, _, updated, bit, supply, stable, variable = found[:11]
    return ReserveData(
        configuration=config,
        rates=Rates(Ray(income), Ray(debt), Ray(lending), Ray(borrowing), updated),
        bit=bit,
        supply_token=abi.as_address(supply),
        stable_debt_token=abi.as_address(stable),
        debt_token=abi.as_address(variable),
    )


def configuration(word: int, *, names_mode: bool) -> Configuration:
    """
    Take a reserve's configuration word apart. Mirrors ReserveConfiguration.

    Args:
        word: As the pool keeps it.
        names_mode: The bits of the eMode category are in use, as they were up to v3.1.
    """
    return Configuration(
        threshold=Bps(word >> 16 & 0xFFFF),
        bonus=Bps(word >> 32 & 0xFFFF),
        decimals=word >> 48 & 0xFF,
        is_active=bool(word >> 56 & 1),
        is_paused=bool(word >> 60 & 1),
        protocol_fee=Bps(word >> 152 & 0xFFFF),
        mode=word >> 168 & 0xFF if names_mode else 0,
    )


def keeps_virtual_balance(word: int) -> bool:
    """Tell whether virtual accounting is on, v3.1 to v3.3; it is off for GHO alone."""
    return bool(word >> 252 & 1)


def mode(answer: Answer, collateral: int = 0, borrowable: int = 0, ltvzero: int = 0) -> Mode:
    """Return an eMode: its bitmaps, and `getEModeCategoryData` (ltv, threshold, bonus, source)."""
    _, _, threshold, bonus, source = (abi.words(answer) + [0] * 5)[:5]
    terms = Bps(threshold), Bps(bonus), abi.as_address(source)
    return Mode(*terms, collateral, borrowable, ltvzero)
