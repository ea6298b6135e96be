"""Real contracts, recorded: the mirror must say what they said, to the last digit."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.call import Call
from chimera.domain.market import Account, Market
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.aave_v3.market import AaveMarket
from chimera.state.screen import Screen
from devnet.recording import Unrecorded
from devnet.replay import Replay, main

RECORDINGS = Path(__file__).parents[1] / "recordings"
AAVE_3_0 = RECORDINGS / "aave_v3-3.0.2-15.jsonl.gz"
AAVE = {
    "3.0": AAVE_3_0,
    "3.6": RECORDINGS / "aave_v3-3.6.0-14.jsonl.gz",
    "3.7": RECORDINGS / "aave_v3-3.7-16.jsonl.gz",
}
LISTINGS = {"3.0": {264, 303}, "3.6": {250, 289}, "3.7": {236}}  # the new reserve was not asked for
EACH = pytest.mark.parametrize("version", AAVE)


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def rewritten(folder: Path, **header: object) -> Path:
    """The recording with another header."""
    with gzip.open(AAVE_3_0, "rt") as lines:
        first, *rest = lines
    path = folder / "other.jsonl.gz"
    with gzip.open(path, "wt") as lines:
        lines.writelines([json.dumps({**json.loads(first), **header}) + "\n", *rest[:250]])
    return path


@EACH
def test_every_account_agrees_with_the_contracts_at_every_block(
    version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(AAVE[version])]) == 0
    assert last_line(capsys) == "compared 28744, mismatches 0"


@EACH
def test_at_full_blocks_the_book_is_what_a_fresh_snapshot_would_be(version: str) -> None:
    run, seen = Replay(AAVE[version]), 0

    for line in run.blocks():
        if not line.is_full or line.block.number in LISTINGS[version]:
            continue
        mirrored = run.book.market("aave_v3")
        market = run.ask(run.adapter.read_market(line.block), line)
        users = sorted(run.accounts)
        accounts = run.ask(run.adapter.read_accounts(market, users, line.block), line)
        assert market.engine.version == version
        assert tables(mirrored) == tables(market)
        assert balances(run.accounts) == balances(accounts)
        borrowers = line.truth.keys() & users
        assert flags(run.accounts, borrowers) == flags(accounts, borrowers)
        seen += 1

    assert seen == 11 - len(LISTINGS[version])


def tables(market: Market) -> list[Any]:
    assert isinstance(market, AaveMarket)
    return [market.reserves, market.rates, market.debt_totals, market.modes, market.prices]


def balances(accounts: Mapping[Address, Account]) -> dict[Address, Any]:
    held = {user: (account.supplied, account.owed) for user, account in accounts.items()}
    return {user: both for user, both in held.items() if any(both)}


def flags(accounts: Mapping[Address, Account], users: Iterable[Address]) -> dict[Address, Any]:
    found = {user: accounts.get(user, Account()) for user in users}
    return {user: (account.enabled, account.mode) for user, account in found.items()}


@EACH
def test_the_screen_never_passes_over_an_account_that_is_under_one(version: str) -> None:
    run, screen = (
        Replay(AAVE[version]),
        Screen(AaveV3(name="aave", address=ZERO_ADDRESS, from_block=0)),
    )
    under = 0

    for line in run.blocks():
        time, market = line.block.timestamp, run.book.market("aave_v3")
        screen.load(run.accounts)
        looked_at = set(screen.candidates(screen.weigh(market, time)))
        for user, account in run.accounts.items():
            if run.adapter.health(market, account, time).is_unhealthy:
                under += 1
                assert user in looked_at

    assert under > 100


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("3.0", {None, "healthy", "no collateral", "price unknown"}),
        ("3.6", {None, "healthy", "reserve paused", "grace period", "price unknown"}),
        ("3.7", {None, "healthy", "reserve paused", "grace period", "price unknown"}),
    ],
)
def test_who_can_be_liquidated_has_a_pair_to_liquidate(version: str, told: set[str]) -> None:
    run, reasons = Replay(AAVE[version]), set()

    for line in run.blocks():
        time, market = line.block.timestamp, run.book.market("aave_v3")
        for account in run.accounts.values():
            verdict = run.adapter.verdict(market, account, time)
            reasons.add(verdict.reason)
            assert verdict.liquidatable == (verdict.best is not None) == (verdict.reason is None)

    assert reasons >= told


def test_a_family_that_nobody_built_is_told_apart_from_a_mismatch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rewritten(tmp_path, family="unheard_of")

    assert main([str(path)]) == 2

    told = capsys.readouterr()
    assert "unheard_of 3.0.2: this family is not built yet" in told.err
    assert told.out == "compared 0, mismatches 0\n"


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"{}"), gzip.compress(b"[")])
def test_a_file_that_is_no_recording_is_refused(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.jsonl.gz"
    path.write_bytes(content)

    assert main([str(path), str(tmp_path / "absent.jsonl.gz")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.count("not a recording, ") for line in told] == [1, 1]
    assert [line.count(str(tmp_path)) for line in told] == [1, 1]
    assert "(" not in "".join(told)


def test_without_a_file_there_is_nothing_to_replay() -> None:
    assert main([]) == 2


def test_a_call_that_was_not_recorded_is_no_answer() -> None:
    run = Replay(AAVE_3_0)
    line = run.recording.followed[1]

    with pytest.raises(Unrecorded):
        run.recording.answer(line, Call(ZERO_ADDRESS, b"1234"))
