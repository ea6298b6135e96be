"""A real Comet, recorded: the mirror must say what it said, to the last digit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chimera.domain.block import Address
from chimera.domain.call import Call
from chimera.domain.market import Account, Market
from chimera.protocols.compound_v3 import calls, rotation, valuation
from chimera.protocols.compound_v3.market import CometMarket
from chimera.protocols.compound_v3.math import present_value
from chimera.state.screen import Screen
from devnet.recording import Line
from devnet.replay import Replay, main

COMET_13 = Path(__file__).parents[1] / "recordings" / "compound_v3-comet-13.jsonl.gz"


def market_of(run: Replay) -> CometMarket:
    market: Market = run.book.market(run.adapter.name)
    assert isinstance(market, CometMarket)
    return market


def followed(run: Replay) -> Iterator[tuple[Line, CometMarket]]:
    for line in run.blocks():
        yield line, market_of(run)
    assert run.comparison.mismatches == []


def recorded(run: Replay, line: Line, call: Call) -> int:
    answer = run.recording.answer(line, call)
    assert answer is not None
    return int.from_bytes(answer, "big", signed=True)


def test_every_account_agrees_with_the_contract_at_every_block(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(COMET_13)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "compared 63250, mismatches 0"


def test_nineteen_principals_come_from_user_basic_and_four_without_a_hint() -> None:
    """A rule for logs that is broken changes this figure, although `userBasic` would hide it."""
    markets = [market for _, market in followed(Replay(COMET_13))]

    assert sum(market.corrections for market in markets) == 19
    assert sum(market.unannounced for market in markets) == 4
    assert all(market.is_exact for market in markets)


def test_at_full_blocks_the_book_is_what_a_fresh_snapshot_would_be() -> None:
    run, seen = Replay(COMET_13), 0

    for line, market in followed(run):
        if line.is_full:
            assert run.ask(run.adapter.read_market(line.block), line) == market
            users = sorted(line.truth)
            fresh = run.ask(run.adapter.read_accounts(market, users, line.block), line)
            ours = {user: run.accounts[user] for user in users if user in run.accounts}
            assert undated(ours) == undated(fresh)
            seen += len(users)

    assert seen >= 6 * 50


def undated(accounts: dict[Address, Account]) -> dict[Address, Account]:
    return {user: account.but(updated_block=0) for user, account in accounts.items()}


def test_at_full_blocks_every_view_agrees_with_every_account() -> None:
    run, compared = Replay(COMET_13), 0

    for line, market in followed(run):
        for user in line.truth if line.is_full else ():
            account = run.accounts.get(user, Account())
            calls_of = run.adapter.proof(market, user)
            readings = {call: run.recording.answer(line, call) for call in calls_of}
            found = run.adapter.differences(market, user, account, line.block, readings)
            assert found == ()
            compared += len(calls_of)

    assert compared > 6_000


def test_reserves_and_accrued_totals_agree_at_every_block() -> None:
    run, blocks = Replay(COMET_13), 0

    for line, market in followed(run):
        now, comet = line.block.timestamp, market.comet
        indexes, totals = market.indexes(now), market.totals
        ours = {
            bytes.fromhex("0902f1ac"): market.reserves(now),  # getReserves
            calls.TOTAL_SUPPLY: present_value(totals.supply, indexes),
            calls.TOTAL_BORROW: -present_value(-totals.borrow, indexes),
        }
        assert ours == {name: recorded(run, line, Call(comet, name)) for name in ours}
        blocks += 1

    assert blocks > 110


def test_debts_add_up_to_the_total_and_supplies_to_all_but_dust() -> None:
    run = Replay(COMET_13)

    for _, market in followed(run):
        principals = [market.principal(account) for account in run.accounts.values()]
        owed = -sum(principal for principal in principals if principal < 0)
        supplied = sum(principal for principal in principals if principal > 0)
        assert owed == market.totals.borrow
        assert 0 <= market.totals.supply - supplied < 100


def test_collateral_adds_up_to_its_totals() -> None:
    run = Replay(COMET_13)

    for _, market in followed(run):
        for asset, total in market.collateral_totals.items():
            assert sum(a.supplied.get(asset, 0) for a in run.accounts.values()) == total


def test_the_screen_passes_over_nobody_who_is_under_one() -> None:
    run, under = Replay(COMET_13), 0
    screen = Screen(run.adapter)

    for line, market in followed(run):
        screen.load(run.accounts)
        found = set(screen.candidates(screen.weigh(market, line.block.timestamp)))
        for user, account in run.accounts.items():
            health = run.adapter.health(market, account, line.block.timestamp)
            if health.is_unhealthy or health.error is not None:
                under += 1
                assert user in found

    assert under > 200


def test_the_stale_view_is_not_the_verdict() -> None:
    """There are blocks in which the view says no and `absorb` goes through."""
    run, stale = Replay(COMET_13), 0

    for line, market in followed(run):
        for user, told in line.truth.items():
            assert told is not None
            account = run.accounts.get(user, Account())
            if told["absorb"] and not told["is_liquidatable_view"]:
                assert not valuation.liquidatable(market, account, market.totals.indexes)
                assert run.adapter.verdict(market, account, line.block.timestamp).liquidatable
                stale += 1

    assert stale > 0


# --- above the bound ------------------------------------------------------------------------------


@pytest.mark.parametrize(("bound", "rotating"), [(30, 10), (12, 4)])
def test_above_the_bound_everybody_is_right_within_the_stated_blocks(
    bound: int, rotating: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BOUND", bound)
    monkeypatch.setattr(rotation, "ROTATING", rotating)
    run, wrong, longest, most, late = Replay(COMET_13), dict[Address, int](), 0, 0, 0

    for line in run.blocks():
        market = market_of(run)
        most = max(most, run.adapter.exact_within(run.book.accounts(run.adapter.name)))
        for user, told in line.truth.items():
            assert told is not None
            is_right = market.principal(run.accounts.get(user)) == int(told["principal"])
            wrong[user] = 0 if is_right else wrong.get(user, 0) + 1
            longest = max(longest, wrong[user])
            late += not is_right

    assert line is run.recording.followed[-1]  # no Rebuild on the way
    assert most > 1
    assert 0 < longest <= most
    assert late < 60


def test_logs_alone_do_not_tell_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "turn", lambda *_: ())
    monkeypatch.setattr(rotation, "left_out", lambda *_: ())
    run = Replay(COMET_13)

    assert run.run().mismatches
