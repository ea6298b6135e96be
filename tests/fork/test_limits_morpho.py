"""Morpho's own contract takes what our mirror says it takes, and not a unit more."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from eth_utils.address import to_checksum_address

from chimera.domain.health import Health, Verdict
from chimera.domain.market import Account, Holder
from chimera.domain.numeric import WAD
from chimera.errors import Skip
from chimera.protocols.morpho_blue.lacking import MOST
from chimera.protocols.morpho_blue.liquidation import (
    HEALTHY,
    NO_COLLATERAL,
    by_collateral,
    by_shares,
)
from chimera.protocols.morpho_blue.market import Id, MorphoMarket, parts_of
from chimera.protocols.morpho_blue.math import Totals
from chimera.protocols.morpho_blue.valuation import figures
from devnet import morpho_hostile
from devnet.anvil import GAS_LIMIT, Anvil
from devnet.configuration import write_config
from devnet.morpho import MorphoStage
from devnet.morpho_actions import MorphoActions
from devnet.morpho_core import Params
from devnet.morpho_hostile import HONEST, KINDS, TOKENS, UNBOUNDED
from devnet.morpho_truth import Key
from devnet.node import Node
from devnet.proxy import CountingProxy
from tests.fork.limits import Mirrored, tried

BORROWERS = 40
BLOCKS = 25
LEAPS = (2, 2, 12, 3_600, 2, 2, 86_400, 2)  # seconds from block to block, in turn
NEAR = WAD * 51 // 50  # accounts above are not tried
CALL_GAS = 550_000_000  # of one eth_call: nodes have a limit, most a tenth of this one
DEBTORS, EVERYBODY = "morpho", "morpho-all"  # the same singleton, followed twice
# What only logs tell; and rates, which a market that has just been accrued has no use for.
LEARNT = ("preliquidations", "strangers", "authorised", "rates")
FALLS = (("WETH", 82), ("WBTC", 85), ("USDC", 103), ("WETH", 60))  # percent of the price before
RARE = {"new_market", "set_fee", "set_fee_recipient", "accrue", "liquidate_shares"}
# Kinds of hostile markets whose accounts get no health factor.
UNPRICED = {
    *("reverting", "gas_burning", "huge_answer", "huge_revert", "garbage"),
    "price_overflowing",
}


class Moved(NamedTuple):
    """The words of the log of one liquidation, in their order."""

    repaid_assets: int
    repaid_shares: int
    seized: int
    bad_assets: int
    bad_shares: int


class Judge:
    """Tries what our verdicts say at the real singleton, at the mirror's block."""

    def __init__(self, stage: MorphoStage, mirror: Mirrored) -> None:
        self.stage, self.mirror = stage, mirror
        self.params: dict[bytes, Params] = {}
        self.accepted: Counter[str] = Counter()
        self.answers: Counter[bool] = Counter()
        self.refused: Counter[str | None] = Counter()
        self.markets: set[bytes] = set()
        self.wrong: list[str] = []

    def attend(self) -> None:
        """Try everybody with debt who is near 1 or has no health factor."""
        adapter, market = self.mirror.adapter(DEBTORS), self.mirror.market(DEBTORS)
        time = self.mirror.block.timestamp
        found = self.stage.truth.params(self.mirror.block.number)
        self.params = {bytes.fromhex(place[2:]): params for place, params in found.items()}
        for holder, account in self.mirror.debtors(DEBTORS).items():
            health = adapter.health(market, account, time)
            if health.factor is None or health.factor < NEAR:
                self.judge(holder, account, adapter.verdict(market, account, time))

    def judge(self, holder: Holder, account: Account, verdict: Verdict) -> None:
        """Try a unit, the limit and a unit over it, by shares of debt and by collateral."""
        where, best = parts_of(holder)[0], verdict.best
        limits = {"shares": account.owed[where], "seized": account.supplied.get(where, 0)}
        taken: dict[str, Moved] = {}  # all the debt, or all the collateral
        for how, limit in limits.items():
            for amount in sorted({1, limit, limit + 1}):
                moved = self._liquidate(holder, how, amount)
                if moved != self._ours(account, how, amount):
                    self._fault(holder, f"{how} {amount}: {self._ours(account, how, amount)}")
                self.answers[moved is not None] += 1
                if moved is not None and amount > limit:
                    self._fault(holder, f"{how}: one unit over {limit} is taken")
                if moved is not None and amount == limit:
                    taken[how] = moved
                if moved is not None and best is None and not is_idle(moved, verdict):
                    self._fault(holder, f"{moved} is taken, but we say: {verdict.reason}")
        if best is None:
            self.refused[verdict.reason] += 1
            return
        how, most = next(iter(taken.items()), ("nothing", None))
        if most is None or (best.max_repay, best.seize) != (most.repaid_assets, most.seized):
            self._fault(holder, f"{best}, but {how}: {most}")
        self.accepted[how] += 1
        self.markets.add(where)

    def _ours(self, account: Account, how: str, amount: int) -> Moved | None:
        market = self.mirror.market(DEBTORS)
        try:
            case = figures(market, account, self.mirror.block.timestamp)
        except Skip:
            return None
        assert case is not None
        found = by_shares(case, amount) if how == "shares" else by_collateral(case, amount)
        return None if found is None else Moved(*(getattr(found, each) for each in Moved._fields))

    def _liquidate(self, holder: Holder, how: str, amount: int) -> Moved | None:
        """Return what the log of a liquidation says, None where it reverts."""
        where, user = parts_of(holder)
        what = (0, amount) if how == "shares" else (amount, 0)
        transaction = MorphoActions(self.stage.core).liquidate(
            self.params[where], to_checksum_address(user), *what, kind="trial"
        )
        trial = tried(self.stage.node, transaction, self.mirror.block.number)
        if trial.output is None:
            return None
        topic = "0x" + self.stage.core.events.topic("Liquidate").hex()
        [event] = [event for event in trial.events if event.topics[0] == topic]
        return Moved(*event.words)

    def _fault(self, holder: Holder, what: str) -> None:
        self.wrong.append(f"block {self.mirror.block.number} 0x{holder.hex()} {what}")


def is_idle(moved: Moved, verdict: Verdict) -> bool:
    """Tell whether somebody only repaid another's debt: there is nothing to seize for it."""
    return verdict.reason == NO_COLLATERAL and moved.seized == 0


class Lived:
    """What one life left behind."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.unlike: list[str] = []
        self.compared = 0


@pytest.fixture(scope="module")
def stage() -> Iterator[MorphoStage]:
    with Anvil() as anvil, Node(anvil.http) as node:
        yield MorphoStage(node, seed=7, borrowers=BORROWERS)


def accrued(market: MorphoMarket, timestamp: int) -> dict[Id, Totals]:
    return {place: market.accrued(place, timestamp) for place in market.live}


def followed(
    stage: MorphoStage,
    folder: Path,
    url: str = "",
    names: tuple[str, ...] = (DEBTORS, EVERYBODY),
) -> Mirrored:
    url = url or stage.node.url
    protocols = [{**stage.protocol(name), "suppliers": name == EVERYBODY} for name in names]
    path = folder / "morpho.toml"
    return Mirrored(write_config(path, ws=url.replace("http", "ws"), http=url, protocols=protocols))


@pytest.fixture(scope="module")
def lived(stage: MorphoStage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    with followed(stage, tmp_path_factory.mktemp("morpho")) as mirror:
        lived = Lived(Judge(stage, mirror))
        for step in range(BLOCKS):
            seconds = LEAPS[step % len(LEAPS)]
            mirror.follow(stage.step(seconds=seconds, actions=8).number)
            lived.judge.attend()
            for name in (DEBTORS, EVERYBODY):
                lived.unlike += mirror.unlike_fresh(name, learnt=LEARNT, derived=accrued)
                lived.compared += len(mirror.accounts(name))
        with stage.undone():
            for symbol, percent in FALLS:
                stage.node.send(stage.priced(symbol, stage.state.answers[symbol] * percent // 100))
                mirror.follow(stage.node.settle())
                lived.judge.attend()
        yield lived


def test_every_market_and_account_equals_a_fresh_reading_at_every_block(lived: Lived) -> None:
    assert lived.unlike == []
    assert lived.compared > 2 * BORROWERS * BLOCKS
    assert set(lived.judge.stage.state.succeeded) >= RARE


def test_the_contract_takes_each_limit_to_the_unit_and_not_one_more(lived: Lived) -> None:
    judge = lived.judge

    assert judge.wrong == []
    assert judge.accepted["shares"] > 30
    assert judge.accepted["seized"] > 5
    assert judge.accepted["nothing"] == 0
    assert judge.answers[True] > 30
    assert judge.answers[False] > 30
    assert len(judge.markets) >= 5


def test_a_verdict_against_a_liquidation_is_the_contracts_own(lived: Lived) -> None:
    assert lived.judge.refused[HEALTHY] > 30


# --- markets that do harm -------------------------------------------------------------------------


class Besieged:
    """Every kind of hostile market beside the honest ones, followed through some blocks."""

    def __init__(self, stage: MorphoStage, mirror: Mirrored, proxy: CountingProxy) -> None:
        self.stage, self.mirror, self.proxy = stage, mirror, proxy
        self.judge = Judge(stage, mirror)
        self.asked: list[Counter[str]] = []
        self.compared = 0
        self.wrong: list[str] = []
        self.faults: dict[str, set[str | None]] = {}

    def follow(self, number: int) -> None:
        """Apply a block, counting what it costs; compare everybody's health factor."""
        self.proxy.reset()
        self.mirror.follow(number)
        self.asked.append(Counter(self.proxy.counts))
        self.faults = {}
        truth, told = self.stage.truth.health(number), self.health()
        if truth.keys() != told.keys():
            self.wrong.append(f"block {number}: {truth.keys() ^ told.keys()}")
        for key, factor in truth.items():
            ours, kind = told[key], self.kind(key[0])
            if ours.error is not None:
                self.faults.setdefault(kind, set()).add(ours.error)
            if (ours.factor is None) is not (ours.error is not None):
                self.wrong.append(f"block {number}: {key} {ours}")
            if ours.factor != factor and kind not in UNBOUNDED:
                self.wrong.append(f"block {number} {kind}: {key} {ours}, but {factor}")
            self.compared += 1

    def health(self) -> dict[Key, Health]:
        adapter, market = self.mirror.adapter(DEBTORS), self.mirror.market(DEBTORS)
        time = self.mirror.block.timestamp
        found: dict[Key, Health] = {}
        for holder, account in self.mirror.debtors(DEBTORS).items():
            place, user = parts_of(holder)
            health = adapter.health(market, account, time)
            found["0x" + place.hex(), to_checksum_address(user)] = health
        return found

    def kind(self, market: str) -> str:
        hostile = self.stage.hostile.get(bytes.fromhex(market[2:]))
        return "honest" if hostile is None else hostile.kind

    def live(self, blocks: int) -> None:
        for _ in range(blocks):
            self.follow(self.stage.step().number)


@contextmanager
def besieged(stage: MorphoStage, folder: Path) -> Iterator[Besieged]:
    with (
        stage.undone(),
        CountingProxy(stage.node.url) as proxy,
        followed(stage, folder, url=proxy.http, names=(DEBTORS,)) as mirror,
    ):
        try:
            yield Besieged(stage, mirror, proxy)
        finally:
            stage.node.rpc("evm_setBlockGasLimit", hex(GAS_LIMIT))


def test_hostile_markets_are_left_alone_and_everybody_else_stays_exact(
    stage: MorphoStage, tmp_path: Path
) -> None:
    with besieged(stage, tmp_path) as siege:
        for kind in KINDS:
            stage.add_hostile(kind, turned=False)
        siege.follow(stage.node.settle())
        assert siege.faults == {}
        stage.node.rpc("evm_setBlockGasLimit", hex(CALL_GAS))
        for hostile in stage.hostile.values():
            stage.node.send(hostile.turn())
        siege.follow(stage.node.settle())
        assert siege.faults.keys() == UNPRICED
        siege.live(6)
        assert siege.faults.keys() == UNPRICED
        siege.judge.attend()
        for hostile in stage.hostile.values():
            stage.node.send(hostile.turn(honest=True))
        siege.follow(stage.node.settle())
        siege.live(1)

    assert siege.wrong == []
    assert siege.faults == {}
    assert siege.compared > 8 * (BORROWERS + 2 * len(KINDS))
    assert siege.judge.wrong == []
    assert max(asked.total() for asked in siege.asked) <= MOST + 10  # new markets, and turning
    assert max(asked.total() for asked in siege.asked[2:]) <= len(UNPRICED) + 10


def test_a_block_costs_no_more_however_many_oracles_do_harm(
    stage: MorphoStage, tmp_path: Path
) -> None:
    with besieged(stage, tmp_path) as siege:
        for number in range(2 * MOST):
            stage.add_hostile("garbage" if number % 2 else "reverting")
        stage.node.settle()
        siege.mirror.follow(stage.node.number)
        siege.live(3)

    assert siege.wrong == []
    assert len(siege.faults) == 2
    assert max(asked.total() for asked in siege.asked) <= MOST + 12  # 2 x MOST of them do harm


ODD_TOKENS = {  # what symbol and decimals answer alike, and as what it is shown
    "token_nameless": (0, "", 0),
    "token_30_decimals": (30, "", 30),
    "token_300_decimals": (300, "", 0),
    "token_short_name": (int.from_bytes(b"GOLD".ljust(32, b"\0")), "GOLD", 0),
}


def test_tokens_without_a_usable_name_are_shown_by_their_address(
    stage: MorphoStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, (word, _, _) in ODD_TOKENS.items():
        monkeypatch.setitem(TOKENS, kind, (HONEST, word))
    monkeypatch.setattr(morpho_hostile, "KINDS", (*KINDS, *ODD_TOKENS))
    with besieged(stage, tmp_path) as siege:
        for kind in {*TOKENS, *ODD_TOKENS}:
            stage.add_hostile(kind)
        siege.follow(stage.node.settle())
        siege.follow(stage.node.settle())
        adapter, market = siege.mirror.adapter(DEBTORS), siege.mirror.market(DEBTORS)
        tokens = adapter.tokens(market)
        shown = {
            one.kind: tokens[bytes.fromhex(one.params.collateral[2:])]
            for one in stage.hostile.values()
        }

    assert siege.wrong == []
    assert siege.faults == {}
    assert shown.keys() == {*TOKENS, *ODD_TOKENS}
    for kind, token in shown.items():
        _, symbol, decimals = ODD_TOKENS.get(kind, (0, "", 0))
        assert token.decimals == decimals, kind
        assert re.fullmatch(symbol or "0x[0-9a-f]{8}", token.symbol), kind
