"""Venus' own contracts take what our mirror says they take, and not a unit more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_utils.address import to_checksum_address

from chimera.domain.block import Address
from chimera.domain.health import Pair
from chimera.domain.market import Account
from chimera.domain.numeric import WAD
from chimera.errors import Skip
from chimera.protocols.compound_v2.liquidation import (
    HEALTHY,
    PAUSED,
    TOO_LITTLE,
    UNPRICED,
    case,
)
from devnet.anvil import Anvil
from devnet.configuration import write_config
from devnet.node import Node, address_in
from devnet.venus import VenusStage
from devnet.venus_actions import LIQUIDATOR, VenusActions
from devnet.venus_market import Listing, order, percent, venus
from tests.fork.limits import Mirrored, Trial, tried

BORROWERS = 40
BLOCKS = 27  # as long as the script that every life has in common
NEAR = WAD * 21 // 20  # pairs of accounts above are not tried
DEBTORS, EVERYBODY = "venus", "venus-all"  # the same pool, followed twice
FALLS = (("WETH", -2_500), ("WBTC", -2_000), ("CARDS", -2_500), ("USDC", 600))
DONE, REJECTED, REVERTS = 0, 3, None  # what liquidateBorrow returns
RARE = {"listing", "upgrade", "modernise", "rate_model", "oracle", "reserve_delta", "dead_price"}


class Judge:
    """Tries what our verdicts say at the real contracts, at the mirror's block."""

    def __init__(self, stage: VenusStage, mirror: Mirrored) -> None:
        self.stage, self.mirror = stage, mirror
        self.accepted = 0
        self.hidden: set[Address] = set()  # the view does not put them under, yet they are taken
        self.refused: Counter[str | None] = Counter()
        self.answers: Counter[int | None] = Counter()
        self.pairs: set[tuple[str, str]] = set()
        self.wrong: list[str] = []

    def attend(self) -> None:
        """Try everybody with debt whom a verdict calls liquidatable, and all pairs near 1."""
        adapter, market = self.mirror.adapter(DEBTORS), self.mirror.market(DEBTORS)
        for user, account in self.mirror.debtors(DEBTORS).items():
            health = adapter.health(market, account, self.mirror.block.timestamp)
            verdict = adapter.verdict(market, account, self.mirror.block.timestamp)
            if verdict.best is not None:
                self._try_best(user, verdict.best)
                forced = any(market.listings[mtoken].is_forced for mtoken in account.owed)
                if health.factor is not None and not health.is_unhealthy and not forced:
                    self.hidden.add(user)
            if health.factor is None or health.factor < NEAR:
                taken = self._try_pairs(user, account, verdict.reason)
                if taken and verdict.best is None:
                    self._fault(user, f"is taken, but we say: {verdict.reason}")
                self.refused[verdict.reason] += not taken

    def _try_best(self, user: Address, best: Pair) -> None:
        debt, collateral = (self._named(at) for at in (best.debt_asset, best.collateral_asset))
        self.pairs.add((debt, collateral))
        trial = self._liquidate(user, debt, collateral, best.max_repay)
        if code(trial) != DONE or self._received(user, trial, collateral) != best.seize:
            self._fault(user, f"{debt} {collateral}: {best}, but {trial}")
        more = self._liquidate(user, debt, collateral, best.max_repay + 1)
        if code(more) == DONE:
            self._fault(user, f"{debt} {collateral}: one unit over {best} is taken")
        self.accepted += 1

    def _try_pairs(self, user: Address, account: Account, reason: str | None) -> bool:
        """Compare what is returned for a unit, the limit and a unit over; is anybody served?"""
        market, served = self.mirror.market(DEBTORS), False
        for debt in account.owed:
            for collateral in account.supplied:
                names = self._symbol(debt), self._symbol(collateral)
                its = case(market, account, debt, collateral, self.mirror.block.timestamp)
                try:
                    limit = its.limits().repay
                except Skip:
                    limit = its.close_limit()
                for repay in sorted({1, limit, limit + 1}):
                    trial = self._liquidate(user, *names, repay)
                    told = code(trial)
                    self.answers[told] += 1
                    if told != its.returns(repay):
                        what = f"{names} {repay}: we say {its.returns(repay)}, not {told}"
                        self._fault(user, what)
                    served |= told == DONE and (
                        reason != TOO_LITTLE or self._received(user, trial, names[1]) > 0
                    )
        return served

    def _received(self, user: Address, trial: Trial, collateral: str) -> int:
        """Return what the vTokens that moved to the liquidator are worth in the underlying."""
        v_token = self.stage.market.listings[collateral].v_token
        who = to_checksum_address(user), LIQUIDATOR
        transfer = "0x" + venus("VBep20Delegate").topic("Transfer").hex()
        tokens = sum(
            event.words[0]
            for event in trial.events
            if (event.address, event.topics[0]) == (v_token.address.lower(), transfer)
            and tuple(address_in(topic) for topic in event.topics[1:]) == who
        )
        ask = v_token.artifact.encode("exchangeRateCurrent")
        answer = self.stage.node.call(v_token.address, ask, self.mirror.block.number)
        return tokens * int.from_bytes(answer) // WAD

    def _liquidate(self, user: Address, debt: str, collateral: str, repay: int) -> Trial:
        actions, who = VenusActions(self.stage.market), to_checksum_address(user)
        transaction = actions.liquidate(who, debt, collateral, repay)
        return tried(self.stage.node, transaction, self.mirror.block.number)

    def _named(self, underlying: Address) -> str:
        return self._where("token", underlying)

    def _symbol(self, mtoken: Address) -> str:
        return self._where("v_token", mtoken)

    def _where(self, part: str, address: Address) -> str:
        place = to_checksum_address(address)
        listings = self.stage.market.listings
        return next(name for name in listings if getattr(listings[name], part).address == place)

    def _fault(self, user: Address, what: str) -> None:
        self.wrong.append(f"block {self.mirror.block.number} 0x{user.hex()} {what}")


def code(trial: Trial) -> int | None:
    return None if trial.output is None else int.from_bytes(trial.output)


class Lived:
    """What one life left behind."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.unlike: list[str] = []
        self.compared = 0


@pytest.fixture(scope="module")
def stage() -> Iterator[VenusStage]:
    with Anvil() as anvil, Node(anvil.http) as node:
        yield VenusStage(node, seed=7, borrowers=BORROWERS)


def followed(stage: VenusStage, folder: Path) -> Mirrored:
    url, names = stage.node.url, (DEBTORS, EVERYBODY)
    protocols = [{**stage.entry(name), "suppliers": name == EVERYBODY} for name in names]
    path = folder / "venus.toml"
    return Mirrored(write_config(path, ws=url.replace("http", "ws"), http=url, protocols=protocols))


@pytest.fixture(scope="module")
def lived(stage: VenusStage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    with followed(stage, tmp_path_factory.mktemp("venus")) as mirror:
        lived = Lived(Judge(stage, mirror))
        for _ in range(BLOCKS):
            mirror.follow(stage.step().number)
            lived.judge.attend()
            for name in (DEBTORS, EVERYBODY):
                lived.unlike += mirror.unlike_fresh(name)
                lived.compared += len(mirror.accounts(name))
        for symbol, bps in FALLS:
            mirror.follow(stage.shock(symbol, bps))
            lived.judge.attend()
        yield lived


def test_every_market_and_account_equals_a_fresh_reading_at_every_block(lived: Lived) -> None:
    assert lived.unlike == []
    assert lived.compared > 2 * BORROWERS * BLOCKS
    assert set(lived.judge.stage.succeeded) >= RARE


def test_the_contracts_take_each_best_pair_to_the_unit_and_not_one_more(lived: Lived) -> None:
    judge = lived.judge

    assert judge.wrong == []
    assert judge.accepted > 30
    assert len(judge.pairs) >= 5
    assert judge.answers[DONE] > 30
    assert judge.answers[REJECTED] > 30
    assert judge.answers[REVERTS] > 30


def test_a_verdict_against_a_liquidation_is_the_contracts_own(lived: Lived) -> None:
    refused = lived.judge.refused

    assert refused[HEALTHY] > 30
    assert refused[PAUSED] > 0
    assert refused[UNPRICED] > 0


def test_an_account_is_found_that_only_an_accrual_puts_under(
    stage: VenusStage, tmp_path: Path
) -> None:
    with stage.undone(), followed(stage, tmp_path) as mirror:
        judge, user = Judge(stage, mirror), at_the_limit(stage)
        factors = []
        mirror.follow(stage.node.number)
        for _ in range(20):
            mirror.follow(stage.node.mine())
            account, market = mirror.debtors(DEBTORS)[user], mirror.market(DEBTORS)
            factors.append(mirror.adapter(DEBTORS).health(market, account, 0).factor)
        judge.attend()
        view = stage.truth.at()[to_checksum_address(user)]

    assert len(set(factors)) == 1
    assert factors[0] is not None
    assert factors[0] >= WAD
    assert view is not None
    assert view[2] == 0  # no shortfall
    assert user in judge.hidden
    assert judge.wrong == []


def at_the_limit(stage: VenusStage) -> Address:
    """Bring in somebody whose collateral, by its stored figures, is just enough. Who it is."""
    actions, user = VenusActions(stage.market), stage.population.newcomer()
    for transaction in (
        actions.mint_behalf(user, "WETH", 10 * WAD),
        actions.enter(user, ["WETH"]),
        actions.borrow(user, "USDC", 10_000 * 10**6),
    ):
        stage.node.send(transaction)
    stage.node.settle()
    weth = stage.market.listings["WETH"]
    low, least = 0, 2_500 * WAD
    while low < least:
        middle = (low + least) // 2
        low, least = (low, middle) if bears(stage, user, weth, middle) else (middle + 1, least)
    stage.node.send(order(stage.market.oracle, "setup", "set", weth.v_token.address, least))
    stage.node.settle()
    return Address(bytes.fromhex(user.removeprefix("0x")))


def bears(stage: VenusStage, user: str, weth: Listing, price: int) -> bool:
    """Tell whether the collateral is worth the debt, by stored figures and this price."""
    leg = stage.truth.positions([user])[user].snapshots[weth.v_token.address]
    owed = stage.truth.sums()[user]
    assert owed is not None
    weight = percent(weth.asset.threshold) * leg.rate // WAD * price // WAD
    return weight * leg.tokens // WAD >= owed.borrow
