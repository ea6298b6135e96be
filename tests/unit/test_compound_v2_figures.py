"""Figures that are taken over from block to block are those that would be worked out anew."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chimera.domain import abi
from chimera.domain.block import Log
from chimera.domain.call import Answer, Call
from chimera.domain.numeric import WAD
from chimera.protocols.compound_v2 import calls, events
from chimera.protocols.compound_v2.pools import Pool, Terms
from tests.fakes_compound_v2 import (
    COMPTROLLER,
    M_CBBTC,
    M_USDC,
    M_WETH,
    ORACLE,
    STATES,
    Mirror,
    log,
    market,
    word,
)

MODES = (0, 1)


def price_of(mtoken: bytes) -> Call:
    return Call(ORACLE, calls.GET_UNDERLYING_PRICE + mtoken.rjust(32, b"\0"))


def mirror() -> Mirror:
    found = Mirror(of=market(pools={1: Pool(terms={M_USDC: Terms(WAD // 2, WAD)})}))
    for mode in MODES:
        found.market.counts(mode)
    return found


ACCRUED = log(M_WETH, events.ACCRUE_INTEREST, 1, 2, STATES[M_WETH].index + 5, 10**20)
FACTOR = log(COMPTROLLER, events.NEW_COLLATERAL_FACTOR, M_WETH, 0, WAD // 4)
THRESHOLD = log(COMPTROLLER, events.NEW_LIQUIDATION_THRESHOLD, 0, 9, indexed=[1, M_USDC])


@pytest.mark.parametrize(
    ("logs", "answers"),
    [
        ([], {}),
        ([], {abi.plain(M_WETH, calls.GET_CASH): word(10**20)}),
        ([], {abi.plain(M_WETH, calls.GET_CASH): None}),
        ([], {price_of(M_USDC): word(WAD)}),
        ([], {price_of(M_CBBTC): None}),
        ([], {price_of(M_CBBTC): word(0)}),
        ([ACCRUED], {}),
        ([FACTOR], {}),
        ([THRESHOLD], {}),
    ],
)
def test_after_a_block_every_market_counts_as_if_looked_at_anew(
    logs: list[Log], answers: dict[Call, Answer]
) -> None:
    found = mirror()
    before = found.market

    found.take(*logs, answers=answers)

    after = found.market
    assert {m: after.counts(m) for m in MODES} == {m: replace(after).counts(m) for m in MODES}
    moved = before.counts(0) != after.counts(0) or before.counts(1) != after.counts(1)
    assert moved is bool(logs or answers)


def test_what_did_not_move_is_not_worked_out_again() -> None:
    found = mirror()
    known = {mtoken: found.market.figures(mtoken, 0) for mtoken in (M_WETH, M_USDC)}

    found.take(answers={price_of(M_USDC): word(WAD)})

    assert found.market.figures(M_WETH, 0) is known[M_WETH]
    assert found.market.figures(M_USDC, 0) is not known[M_USDC]
