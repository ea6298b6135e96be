"""A recorded singleton with eleven markets: the mirror must say what it said, to the last digit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from eth_utils.crypto import keccak

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.call import Slot
from chimera.protocols.morpho_blue import events, oracle
from chimera.protocols.morpho_blue.market import ID_BYTES, Id, MorphoMarket, oracles_of
from chimera.state.screen import Screen
from devnet.recording import Line
from tests.fakes_morpho_blue import RECORDING, MorphoReplay

COMPARED = 74169
FULL = [115, 135, 136, 138, 139, 155, 175, 195, 215]


def test_every_position_agrees_with_the_contract_at_every_block() -> None:
    comparison = MorphoReplay(RECORDING).run()

    assert comparison.mismatches == []
    assert comparison.compared == COMPARED


def test_only_positions_in_markets_without_debt_have_no_price_to_compare() -> None:
    run, idle, told = MorphoReplay(RECORDING), 0, 0

    for line in run.blocks():
        for markets in line.truth.values():
            ids = [Id(bytes.fromhex(name[2:])) for name in markets or {}]
            told += len(ids)
            idle += sum(where not in run.market.live for where in ids)

    assert (idle, told) == (95, 9283)


def test_the_singleton_proves_itself() -> None:
    run = MorphoReplay(RECORDING)

    assert run.ask(run.adapter.prove(), run.recording.followed[0]) is None


def test_at_full_blocks_the_book_is_what_a_fresh_snapshot_would_be() -> None:
    run, seen, lenders = MorphoReplay(RECORDING), [], set()

    for line in run.blocks():
        if line.is_full:
            seen.append(line.block.number)
            assert list(run.strays(line)) == []
            lenders |= {holder for holder, account in run.accounts.items() if account.marks}

    assert seen == FULL
    recipients = [run.recording.header["contracts"][f"fee_recipient_{n}"] for n in (0, 1)]
    for recipient in recipients:
        assert sum(holder.hex().endswith(recipient[2:].lower()) for holder in lenders) == 3


def test_every_fresh_figure_is_proven_by_the_contracts_own_views() -> None:
    run, proven = MorphoReplay(RECORDING), 0

    for line in run.blocks():
        if not line.is_full:
            continue
        for holder, account in run.accounts.items():
            calls = run.adapter.proof(run.market, holder)
            answers = {call: run.recording.answer(line, call) for call in calls}
            proven += len(calls)
            found = run.adapter.differences(run.market, holder, account, line.block, answers)
            assert found == ()

    assert proven > 3000


def test_the_storage_of_the_singleton_says_the_same() -> None:
    run = MorphoReplay(RECORDING)
    line = next(run.blocks())

    for where, totals in run.market.totals.items():
        base = int.from_bytes(keccak(where + (3).to_bytes(32, "big")), "big")
        slots = [Slot(run.market.singleton, (base + n).to_bytes(32, "big")) for n in range(2)]
        supply, borrow = (run.recording.answer(line, slot) or b"" for slot in slots)
        assert int.from_bytes(supply, "big") == totals.supply_assets | totals.supply_shares << 128
        assert int.from_bytes(borrow, "big") == totals.borrow_assets | totals.borrow_shares << 128


def test_every_accrual_is_computed_before_it_is_logged() -> None:
    """The rate, the interest and the fee that a log tells are those that the mirror expects."""
    run = MorphoReplay(RECORDING)
    blocks, seen = run.blocks(), 0
    next(blocks)
    before, chain = run.market, {run.book.block.hash: run.market}

    for line in blocks:
        before = chain[line.block.parent_hash]
        for where, rate, interest, fee in first_accruals(before, line):
            totals = before.accrued(where, line.block.timestamp)
            assert before.rate(where, line.block.timestamp) == rate
            assert totals.borrow_assets - before.totals[where].borrow_assets == interest
            assert totals.supply_shares - before.totals[where].supply_shares == fee
            seen += 1
        chain[line.block.hash] = run.market

    assert seen > 80


def first_accruals(market: MorphoMarket, line: Line) -> Iterator[tuple[Id, int, int, int]]:
    """The accruals of markets that nothing in this block changed before, but for a new fee."""
    touched: set[Id] = set()
    for log in line.logs:
        if log.address == market.singleton and len(log.topics) > 1:
            where = events.market_in(log)
            new = where not in touched and where in market.terms
            if log.topics[0] == events.ACCRUE_INTEREST and new:
                words = [abi.uint_at(log.data, place) for place in range(3)]
                yield where, words[0], words[1], words[2]
            touched.add(where)


def test_the_screen_never_passes_over_an_account_that_is_under_one() -> None:
    run, under = MorphoReplay(RECORDING), 0
    screen = Screen(run.adapter)

    for line in run.blocks():
        time = line.block.timestamp
        screen.load(run.accounts)
        looked_at = set(screen.candidates(screen.weigh(run.market, time)))
        for holder, account in run.accounts.items():
            health = run.adapter.health(run.market, account, time)
            if health.is_unhealthy or (account.owed and health.error):
                under += 1
                assert holder in looked_at

    assert under > 1000


def test_who_can_be_liquidated_has_a_pair_to_liquidate() -> None:
    run, reasons = MorphoReplay(RECORDING), Counter[str]()

    for line in run.blocks():
        for account in run.accounts.values():
            verdict = run.adapter.verdict(run.market, account, line.block.timestamp)
            reasons[str(verdict.reason)[:40]] += 1
            assert verdict.liquidatable == (verdict.best is not None) == (verdict.reason is None)
            health = run.adapter.health(run.market, account, line.block.timestamp)
            assert verdict.liquidatable == health.is_unhealthy

    assert {"None", "healthy", "figures overflow"} <= set(reasons)
    assert any("the oracle reverts" in reason for reason in reasons)


def test_a_market_that_nobody_owes_in_costs_no_question() -> None:
    run = MorphoReplay(RECORDING)
    idle = 0

    for line in run.blocks():
        market = run.market
        asked = run.adapter.polls(market, run.book.accounts("morpho_blue"), line.block)
        assert len(asked) == len(set(asked)) == len(oracles_of(market.terms, market.live))
        idle += len(market.terms) - len(market.live)

    assert idle > 100


def test_a_book_without_the_irms_logs_would_not_know_the_rates() -> None:
    run = MorphoReplay(RECORDING)
    next(run.blocks())

    assert len(run.market.curves) == 1
    assert run.adapter.interest(run.market).addresses == {run.market.singleton, *run.market.irms}
    assert sum(terms.irm == ZERO_ADDRESS for terms in run.market.terms.values()) == 1
    assert all(len(where) == ID_BYTES for where in run.market.targets)


def test_the_price_of_each_chainlink_oracle_is_taken_apart_exactly() -> None:
    run, seen = MorphoReplay(RECORDING), 0

    for line in run.blocks():
        if not line.is_full:
            continue
        for name, contract in run.recording.header["contracts"].items():
            if name in {"oracle_btc", "oracle_eth", "oracle_wst", "oracle_susd"}:
                where = bytes.fromhex(contract[2:])
                steps = run.ask(oracle.explained(Address(where)), line)
                assert "as the oracle answers" in steps[-1].value
                seen += 1

    assert seen == 4 * len(FULL)
