"""Absorptions and sales that the real contract logged, against ours of the same accounts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from chimera.domain import abi
from chimera.domain.block import Address, Log
from chimera.domain.market import Account
from chimera.protocols.compound_v3 import events, liquidation, valuation
from chimera.protocols.compound_v3.market import CometMarket
from chimera.protocols.compound_v3.math import quote, value_of
from devnet.recording import Line
from devnet.replay import Replay

COMET_13 = Path(__file__).parents[1] / "recordings" / "compound_v3-comet-13.jsonl.gz"
BUY_COLLATERAL = bytes.fromhex("f891b2a411b0e66a5f0a6ff1368670fefa287a13f541eb633a386a1a9cc7046b")


def followed() -> Iterator[tuple[Line, CometMarket, Mapping[Address, Account]]]:
    """Yield each block after the first with its market and the accounts before it."""
    run = Replay(COMET_13)
    before: Mapping[Address, Account] | None = None
    for line in run.blocks():
        market = run.book.market(run.adapter.name)
        assert isinstance(market, CometMarket)
        if before is not None:
            yield line, market, before
        before = dict(run.accounts)


def logged(line: Line, market: CometMarket, topic: bytes) -> list[Log]:
    return [log for log in line.logs if log.address == market.comet and log.topics[0] == topic]


def amounts(log: Log) -> tuple[int, int]:
    return int.from_bytes(log.data[:32], "big"), int.from_bytes(log.data[32:64], "big")


def held(market: CometMarket, asset: Address, amount: int) -> valuation.Held:
    return valuation._held(market, market.terms.collaterals[asset], amount)


def test_every_purchase_got_what_we_would_quote() -> None:
    bought = 0
    for line, market, _ in followed():
        for log in logged(line, market, BUY_COLLATERAL):
            paid, received = amounts(log)
            offer = liquidation.offer_of(market, held(market, abi.address_of(log.topics[2]), 0))
            assert quote(offer, paid) == received
            bought += 1

    assert bought == 20


def test_every_absorption_at_the_prices_of_its_block_credits_what_we_would() -> None:
    """Prices that moved within the block are left out: nothing tells what they were."""
    absorbed = 0
    for line, market, before in followed():
        seized = logged(line, market, events.ABSORB_COLLATERAL)
        stale = {log.topics[2] for log in seized if amounts(log)[1] != worth(market, log)}
        for log in logged(line, market, events.ABSORB_DEBT):
            if log.topics[2] not in stale:
                account, now = before[abi.address_of(log.topics[2])], line.block.timestamp
                found = valuation.standing(market, account, now)
                paid = liquidation.absorption(market, found, now).paid
                base = market.terms.base
                price = valuation.price_of(market, base.token, base.symbol)
                assert amounts(log) == (paid, value_of(paid, price, base.scale))
                absorbed += 1

    assert absorbed == 5


def worth(market: CometMarket, log: Log) -> int:
    return held(market, abi.address_of(log.topics[3]), amounts(log)[0]).value
