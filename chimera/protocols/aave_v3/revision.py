"""Which engine a pool is: asked of the pool and of its tokens, since forks renumber revisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eth_utils.address import to_checksum_address

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.call import Call, Inquiry
from chimera.errors import Refuse
from chimera.protocols.aave_v3 import calls
from chimera.protocols.aave_v3.calls import ReserveData
from chimera.protocols.aave_v3.engine import ENGINES, V3_0, V3_4, V3_5, Engine

FIRST_ROUNDED_DOWN = 4  # token revisions from here on (v3.5) round supply down and debts up
NEWEST_POOL, NEWEST_TOKEN = 11, 6  # revisions in v3.7

FOUR_OR_FIVE = "3.4 or 3.5"  # no getter of the pool tells these two apart, their tokens do

# The newest first: the first getter that answers names the version. Argument: none, the number of
# an eMode, or (where the zero address stands) one of the pool's assets.
PROBES = (
    ("3.7", calls.GET_IS_EMODE_CATEGORY_ISOLATED, 1),
    ("3.6", calls.GET_EMODE_CATEGORY_LTVZERO_BITMAP, 1),
    (FOUR_OR_FIVE, calls.RESERVE_INTEREST_RATE_STRATEGY, None),
    ("3.3", calls.GET_RESERVE_DEFICIT, ZERO_ADDRESS),
    ("3.2", calls.GET_EMODE_CATEGORY_COLLATERAL_BITMAP, 1),
    ("3.1", calls.GET_VIRTUAL_UNDERLYING_BALANCE, ZERO_ADDRESS),
)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the two tokens of a reserve say of themselves; 0 where they say nothing."""

    supply: int
    debt: int

    @property
    def round_down(self) -> bool:
        """Tell whether balances are rounded down and debts up, as since v3.5."""
        return min(self.supply, self.debt) >= FIRST_ROUNDED_DOWN

    @property
    def round_to_nearest(self) -> bool:
        """Tell whether both are rounded to the nearest, as up to v3.4."""
        return max(self.supply, self.debt) < FIRST_ROUNDED_DOWN


def engine_of(pool: Address, reserves: Mapping[Address, ReserveData]) -> Inquiry[Engine]:
    """
    Find the pool's engine by what pool and tokens can do and how the tokens round.

    Raises:
        Refuse: It is newer than what is supported, or pool and tokens do not fit together.
    """
    version = yield from _version(pool, next(iter(reserves), ZERO_ADDRESS))
    revisions = yield from _token_revisions(list(reserves.values()))
    if version == FOUR_OR_FIVE:
        if not revisions:
            named = f"the pool {to_checksum_address(pool)}"
            raise Refuse(f"{named} is Aave v{version}; it lists nothing to tell by")
        version = (V3_5 if revisions[0].round_down else V3_4).version
    engine = ENGINES[version]
    for reserve, tokens in zip(reserves.values(), revisions, strict=True):
        _check_tokens(pool, engine, reserve, tokens)
    return engine


def _version(pool: Address, an_asset: Address) -> Inquiry[str]:
    revision = abi.plain(pool, calls.POOL_REVISION)
    probes = {version: _probe(pool, an_asset, *rest) for version, *rest in PROBES}
    answers = yield (revision, *probes.values())
    number, place = calls.required(revision, answers[revision]), to_checksum_address(pool)
    able = (version for version, probe in probes.items() if abi.number(answers[probe]) is not None)
    version = next(able, V3_0.version)
    if number > NEWEST_POOL and version != V3_0.version:  # forks of v3.0 count for themselves
        raise Refuse(
            f"the pool {place} has POOL_REVISION {number}: it is newer than Aave v3.7 "
            f"(revision {NEWEST_POOL}), the newest that is supported"
        )
    return version


def _probe(pool: Address, asset: Address, selector: bytes, argument: int | Address | None) -> Call:
    if argument is None:
        return abi.plain(pool, selector)
    if isinstance(argument, int):
        return abi.of_number(pool, selector, argument)
    return abi.of_address(pool, selector, asset)


def _token_revisions(reserves: Sequence[ReserveData]) -> Inquiry[list[Tokens]]:
    questions = [
        (
            abi.plain(reserve.supply_token, calls.ATOKEN_REVISION),
            abi.plain(reserve.debt_token, calls.DEBT_TOKEN_REVISION),
        )
        for reserve in reserves
    ]
    answers = (yield tuple(call for pair in questions for call in pair)) if questions else {}
    return [
        Tokens(abi.number(answers[supply]) or 0, abi.number(answers[debt]) or 0)
        for supply, debt in questions
    ]


def _check_tokens(pool: Address, engine: Engine, reserve: ReserveData, tokens: Tokens) -> None:
    named = (
        f"the aToken {to_checksum_address(reserve.supply_token)} has revision {tokens.supply} "
        f"and its vToken {tokens.debt}"
    )
    fits = tokens.round_to_nearest if engine.rounds_to_nearest else tokens.round_down
    if not fits:
        raise Refuse(
            f"{named}, of which those under {FIRST_ROUNDED_DOWN} round to the nearest: "
            f"that does not fit the pool {to_checksum_address(pool)}, "
            f"which is Aave v{engine.version}"
        )
    if max(tokens.supply, tokens.debt) > NEWEST_TOKEN:
        raise Refuse(
            f"{named}: newer than {NEWEST_TOKEN}, the newest that is supported (Aave v3.7)"
        )
