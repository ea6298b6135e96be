"""Moonwell's real contracts, recorded: the mirror must say what they said, to the last digit."""

from __future__ import annotations

from collections import Counter

from chimera.domain import abi
from chimera.domain.market import EMPTY
from chimera.protocols.compound_v2 import calls, liquidation, valuation
from chimera.protocols.compound_v2.adapter import CompoundV2
from chimera.protocols.compound_v2.market import CompoundMarket
from chimera.state.screen import Screen
from devnet.replay import Replay
from tests.fakes_compound_v2 import RECORDING, Player


def market_of(run: Replay) -> CompoundMarket:
    found = run.book.market("compound_v2")
    assert isinstance(found, CompoundMarket)
    return found


def test_every_account_and_every_pair_agrees_with_the_contracts_at_every_block() -> None:
    run = Player(RECORDING)

    told = run.run()

    assert told.mismatches == []
    assert told.compared == 77998


def test_the_comparison_has_every_kind_of_answer() -> None:
    lines = Player(RECORDING).recording.followed
    truths = [told for line in lines for told in line.truth.values() if told is not None]
    pairs = [pair for told in truths for pair in told.get("pairs", ())]

    assert Counter(pair["liquidate"] for pair in pairs) == {3: 7117, 0: 1660, None: 210}
    assert sum("repay_limit" in pair for pair in pairs) == 1707
    assert {pair["liquidate_at_limit"] for pair in pairs if "repay_limit" in pair} == {0, None}
    assert sum(told["error"] is None for told in truths) == 42
    assert sum(told["shortfall"] is not None and int(told["shortfall"]) > 0 for told in truths) > 99


def test_at_full_blocks_the_book_is_what_a_fresh_snapshot_would_be() -> None:
    run, seen = Player(RECORDING), 0

    for line in run.blocks():
        if not line.is_full:
            continue
        mirrored = market_of(run)
        fresh = run.ask(run.adapter.read_market(line.block), line)
        assert mirrored == fresh
        users = sorted(run.recorded())
        accounts = run.ask(run.adapter.read_accounts(fresh, users, line.block), line)
        for user in users:
            ours, theirs = run.accounts.get(user, EMPTY), accounts.get(user, EMPTY)
            assert ours.but(updated_block=0) == theirs.but(updated_block=0)
        seen += 1

    assert seen == 12


def test_every_market_has_what_it_says_at_every_block() -> None:
    run, seen = Player(RECORDING), 0

    for line in run.blocks():
        for mtoken, state in market_of(run).states.items():
            for getter, figure in (
                (calls.TOTAL_BORROWS, state.borrows),
                (calls.TOTAL_RESERVES, state.reserves),
                (calls.TOTAL_SUPPLY, state.supply),
                (calls.BORROW_INDEX, state.index),
                (calls.ACCRUAL_BLOCK_TIMESTAMP, state.accrued),
                (calls.GET_CASH, state.cash),
            ):
                answer = run.recording.answer(line, abi.plain(mtoken, getter))
                assert abi.number(answer) == figure
                seen += 1

    assert seen > 4000


def test_the_rates_of_the_next_accrual_are_the_markets_own_at_every_block() -> None:
    run, seen = Player(RECORDING), 0

    for line in run.blocks():
        market = market_of(run)
        for mtoken in market.listings:
            call = abi.plain(mtoken, calls.BORROW_RATE_PER_TIMESTAMP)
            assert abi.number(run.recording.answer(line, call)) == market.borrow_rate(mtoken)
            seen += market.listings[mtoken].rates is not None

    assert seen > 700


def test_the_screen_never_passes_over_an_account_that_is_under_one() -> None:
    run = Player(RECORDING)
    screen, under, looked = Screen(run.adapter), 0, 0

    for line in run.blocks():
        time, market = line.block.timestamp, market_of(run)
        screen.load(run.accounts)
        looked_at = set(screen.candidates(screen.weigh(market, time)))
        looked += len(looked_at)
        for user, account in run.accounts.items():
            health = run.adapter.health(market, account, time)
            if health.is_unhealthy or (health.error is not None and account.owed):
                under += 1
                assert user in looked_at

    assert under > 100
    assert looked < under * 2


def test_the_view_of_a_shelf_of_real_answers_proves_every_account() -> None:
    run, seen = Player(RECORDING), 0

    for line in run.blocks():
        if not line.is_full:
            continue
        market = market_of(run)
        for user in run.recorded():
            account = run.accounts.get(user, EMPTY)
            asked = run.adapter.proof(market, user)
            told = {call: run.recording.answer(line, call) for call in asked}
            assert run.adapter.differences(market, user, account, line.block, told) == ()
            seen += 1

    assert seen == 600


def test_whoever_can_be_liquidated_has_a_pair_to_liquidate() -> None:
    run, reasons = Player(RECORDING), Counter[str | None]()

    for line in run.blocks():
        market, time = market_of(run), line.block.timestamp
        for account in run.accounts.values():
            verdict = run.adapter.verdict(market, account, time)
            reasons[verdict.reason] += 1
            assert verdict.liquidatable == (verdict.best is not None) == (verdict.reason is None)

    assert {"healthy", "price unknown", "seizing paused", None} <= reasons.keys()


def test_some_are_liquidated_whom_the_view_with_stored_interest_calls_healthy() -> None:
    run = Player(RECORDING)
    only_accrued = 0

    for line in run.blocks():
        market, time = market_of(run), line.block.timestamp
        for account in run.accounts.values():
            stored = valuation.health(market, account).is_unhealthy
            accrued = liquidation.verdict(market, account, time)
            only_accrued += accrued.liquidatable and not stored

    assert only_accrued == 3


def test_markets_not_entered_were_seized() -> None:
    run, seen = Player(RECORDING), 0

    for line in run.blocks():
        market, time = market_of(run), line.block.timestamp
        for account in run.accounts.values():
            outside = account.supplied.keys() - account.enabled
            for debt in account.owed:
                for mtoken in outside:
                    case = liquidation.case(market, account, debt, mtoken, time)
                    seen += case.refusal() is None

    assert seen > 0


def test_an_account_is_explained_by_both_verdicts() -> None:
    run = Player(RECORDING)
    *_, line = run.blocks()
    market, time = market_of(run), line.block.timestamp
    debtors = [account for account in run.accounts.values() if account.owed and account.supplied]

    for account in debtors:
        names = [step.name for step in run.adapter.explain(market, account, time)]
        assert "shortfall" in names
        assert any(name.startswith("shortfall with interest added in") for name in names)
        assert names[0] == "revision"
        assert names[-1] == "verdict"

    assert len(debtors) > 10


def test_a_replay_ends_where_a_replay_without_reorganisations_would() -> None:
    """Replaced blocks leave nothing: the book of the last block equals one read there."""
    run = Player(RECORDING)
    replaced = 0
    before = run.recording.followed[0].block.number - 1

    for line in run.blocks():
        replaced += line.block.number <= before
        before = line.block.number
        run.book.verify_indexes()

    assert replaced == 2


def test_the_family_is_found_by_its_kind() -> None:
    assert isinstance(Player(RECORDING).adapter, CompoundV2)
