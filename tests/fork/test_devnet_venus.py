"""The core pool of Venus on the local chain is what the tests of the mirror take it for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from eth_utils.crypto import keccak

from devnet.anvil import Anvil
from devnet.node import Contract, Node, RpcError, Transaction, address_in, bytes_of
from devnet.stage import Stage
from devnet.venus import CHURN, EVENTS, REFUSED, VenusStage
from devnet.venus_actions import VenusActions
from devnet.venus_market import OFF, ON, WAD, Listing, order, percent, venus
from devnet.venus_people import SHARES
from devnet.venus_truth import NO_ERROR, PRICE_ERROR, Position, TruthError, liquidatable

BLOCKS = 44
EVERY = 6  # blocks between two trials
TRIED = 24  # accounts nearest to 1, at each trial
REJECTED = 3  # TokenErrorReporter.Error.COMPTROLLER_REJECTION
ACCOUNT_BORROWS = 16  # storage slot of a vToken
WITHOUT_END = {"liquidate", "liquidate_partly", "recovery", "price_back", "oracle_back"}
ENDS = {"pool_on", "fallback_on", "unpause", "protocol_unpause", "treasury_off", "unforced"}


@contextmanager
def chain() -> Iterator[Node]:
    with Anvil() as anvil, Node(anvil.http) as node:
        yield node


class Lived:
    """What one life left behind, for the tests to look at."""

    def __init__(self) -> None:
        self.under: Counter[int] = Counter()
        self.unknown = 0
        self.errors: set[int] = set()
        self.tried: Counter[tuple[bool, int]] = Counter()
        self.disagreed: list[str] = []
        self.debts: set[str] = set()


def live(stage: VenusStage, lived: Lived) -> None:
    """Live one block and hold every sum against the view; now and then try the contracts."""
    number = stage.step().number
    factors = stage.truth.health_factors(number)
    lived.under[number] = sum(one is not None and one < WAD for one in factors.values())
    lived.unknown += sum(one is None for one in factors.values())
    views = stage.truth.at(number).values()
    lived.errors |= {-1 if view is None else view[0] for view in views}
    if number % EVERY == 0:
        with stage.undone():
            stage.fresh()
            try_liquidations(stage, lived)


def try_liquidations(stage: VenusStage, lived: Lived) -> None:
    """Ask liquidateBorrow of every pair of near accounts; every market has just been accrued."""
    near, views = stage.truth.near(TRIED), stage.truth.at()
    for (user, debt, collateral), answer in stage.truth.verdicts(near).items():
        view = views[user]
        assert view is not None
        if answer is None:  # paused
            continue
        lived.debts.add(debt)
        place = stage.market.listings[debt].v_token.address
        forced = stage.node.read(stage.market.comptroller, "isForcedLiquidationEnabled", place)
        allowed = view[2] > 0 or forced
        lived.tried[allowed, answer] += 1
        if (answer == NO_ERROR) != allowed:
            lived.disagreed.append(f"{user} {debt} {collateral}: {answer}, but {view}")


@pytest.fixture(scope="module")
def aged() -> Iterator[tuple[VenusStage, Lived]]:
    """Return a stage of 60 borrowers after a life of `BLOCKS` blocks."""
    with chain() as node:
        stage, lived = VenusStage(node, seed=7, borrowers=60), Lived()
        for _ in range(BLOCKS):
            live(stage, lived)
        yield stage, lived


@pytest.fixture(scope="module")
def young() -> Iterator[VenusStage]:
    with chain() as node:
        yield VenusStage(node, seed=3, borrowers=30)


@pytest.fixture
def stage(young: VenusStage) -> Iterator[VenusStage]:
    with young.undone():
        yield young


def test_everything_that_can_happen_happens(aged: tuple[VenusStage, Lived]) -> None:
    stage, _ = aged
    wanted = {*CHURN, *EVENTS, *WITHOUT_END, *ENDS, "listing", "modernise"}

    quiet = {kind for kind in wanted if kind.startswith(REFUSED)}
    assert wanted - quiet - set(stage.succeeded) == set()
    assert quiet - set(stage.refused) == set()
    assert "XVS" in stage.market.listings


def test_people_go_under_and_come_back(aged: tuple[VenusStage, Lived]) -> None:
    _, lived = aged

    assert 0 in lived.under.values()
    assert sum(count > 0 for count in lived.under.values()) > BLOCKS // 8
    assert lived.errors == {NO_ERROR, PRICE_ERROR, -1}
    assert lived.unknown > 0


def test_who_can_be_liquidated_is_whom_the_view_puts_in_shortfall(
    aged: tuple[VenusStage, Lived],
) -> None:
    _, lived = aged

    assert lived.disagreed == []
    assert lived.tried[True, NO_ERROR] > 5
    assert lived.tried[False, REJECTED] > 100
    assert len(lived.debts) > 4


def test_the_sums_are_wrong_if_a_price_is(
    stage: VenusStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = stage.truth.prices()
    assert stage.truth.sums()
    place = stage.market.listings["USDC"].v_token.address
    monkeypatch.setattr(stage.truth, "prices", lambda _: {**true, place: (true[place] or 0) * 2})

    with pytest.raises(TruthError):
        stage.truth.sums()


def test_200_borrowers_come_in_few_blocks_and_requests() -> None:
    with chain() as node, patch.object(node, "rpc", wraps=node.rpc) as asked:
        stage = VenusStage(node, seed=1, borrowers=200)
        assert node.number <= 10  # blocks, however many people come
        assert asked.call_count < 10 * 200  # a person's transactions, and little else

        assert len(stage.truth.borrowers_now()) == 200
        assert set(stage.population.people) == {*SHARES, "supplier"}
        factors = [one for one in stage.truth.health_factors().values() if one is not None]
        assert sum(WAD <= one < WAD * 107 // 100 for one in factors) > 40


def test_the_same_seed_lives_the_same_life_on_any_chain() -> None:
    digests = []
    for seed, empty_blocks in ((5, 0), (5, 3), (6, 0)):
        with chain() as node:
            for _ in range(empty_blocks):
                node.mine()
            stage = VenusStage(node, seed=seed, borrowers=10)
            for _ in range(8):
                stage.step()
            digests.append((stage.comptroller, stage.truth.digest()))

    assert digests[0] == digests[1]
    assert digests[0][1] != digests[2][1]


def test_two_protocols_live_in_the_same_blocks() -> None:
    with Stage.build(seed=7, borrowers=8) as aave:
        node = aave.node
        stage = VenusStage(node, seed=7, borrowers=8)
        for _ in range(3):
            plans = aave.life.begin(3)
            for transaction in stage.step_transactions(3):
                node.send(transaction)
            number = node.mine()
            moment = stage.mined(number)
            assert aave.life.finish(plans, number, 2).number == moment.number == number
            assert sum(moment.succeeded.values()) > 0

        assert set(stage.truth.borrowers_now()) & set(aave.truth.borrowers_now())
        assert stage.truth.sums()


def test_what_is_undone_never_happened(young: VenusStage) -> None:
    before = young.truth.digest(), young.node.number, young.population.next_person
    with young.undone():
        first = young.step_transactions()
        young.shock("WETH", -2_000)
        assert young.truth.digest() != before[0]

    assert (young.truth.digest(), young.node.number, young.population.next_person) == before
    with young.undone():
        assert young.step_transactions() == first


def test_a_price_that_falls_puts_people_under(stage: VenusStage) -> None:
    assert list(liquidatable(stage.truth.at())) == []
    number = stage.shock("WETH", -2_500)
    under = set(liquidatable(stage.truth.at(number)))

    assert under
    assert under == {u for u, one in stage.truth.health_factors().items() if one and one < WAD}
    stage.cure("WETH")
    assert list(liquidatable(stage.truth.at())) == []
    assert under == set(liquidatable(stage.truth.at(number)))


def test_a_dead_price_concerns_only_those_who_have_something_there(stage: VenusStage) -> None:
    users, actions = stage.truth.borrowers_now(), VenusActions(stage.market)
    cards, oracle = stage.market.listings["CARDS"], stage.market.oracle
    empty, poor = [
        user for user, position in stage.truth.positions(users).items() if not held(position, cards)
    ][:2]
    one_card = actions.mint_behalf(poor, "CARDS", 1)
    send(stage, *(actions.enter(user, ["CARDS"]) for user in (empty, poor)), one_card)
    place, before = cards.v_token.address, stage.truth.sums()[empty]

    send(stage, order(oracle, "setup", "set", place, 0))
    assert stage.truth.sums()[empty] == before
    assert stage.truth.sums()[poor] is None
    assert stage.truth.at()[poor] == (PRICE_ERROR, 0, 0)

    send(stage, order(oracle, "setup", "kill", place, ON))
    assert stage.truth.sums()[empty] == before
    assert stage.truth.at()[poor] is None


def test_liquidate_borrow_accrues_what_the_view_leaves_as_stored(stage: VenusStage) -> None:
    actions, user = VenusActions(stage.market), stage.population.newcomer()
    supplies = actions.mint_behalf(user, "WETH", 10 * WAD), actions.enter(user, ["WETH"])
    send(stage, *supplies, actions.borrow(user, "USDC", 10_000 * 10**6))
    place = stage.market.listings["WETH"].v_token.address
    leg = stage.truth.positions([user])[user].snapshots[place]
    threshold = percent(stage.market.listings["WETH"].asset.threshold)
    owed = stage.truth.sums()[user]
    assert owed is not None

    def collateral(price: int) -> int:
        return threshold * leg.rate // WAD * price // WAD * leg.tokens // WAD

    low, least = 0, 10**22
    while low < least:
        middle = (low + least) // 2
        low, least = (low, middle) if collateral(middle) >= owed.borrow else (middle + 1, least)
    send(stage, order(stage.market.oracle, "setup", "set", place, least))
    for _ in range(20):
        stage.node.mine()

    assert stage.truth.at()[user] == (NO_ERROR, collateral(least) - owed.borrow, 0)
    assert stage.truth.liquidation(user, "USDC", "WETH", 10**6) == NO_ERROR
    stage.fresh()
    view = stage.truth.at()[user]
    assert view is not None
    assert view[2] > 0


def send(stage: VenusStage, *transactions: Transaction) -> list[dict[str, Any]]:
    """Mine them in one block, in which all go well; the logs."""
    for transaction in transactions:
        stage.node.send(transaction)
    number = stage.node.settle()
    return stage.node.logs(first=number, last=number)


def test_a_donation_counts_only_once_the_owners_count_it_in(stage: VenusStage) -> None:
    v_token = stage.market.listings["WETH"].v_token
    stage.fresh()
    cash = stage.node.read(v_token, "getCash")
    send(stage, VenusActions(stage.market).donate("WETH", 5 * WAD))
    rate = stage.node.read(v_token, "exchangeRateStored")
    assert stage.node.read(v_token, "getCash") == stage.node.read(v_token, "internalCash") == cash

    logs = send(stage, order(v_token, "sync_cash", "sweepTokenAndSync", 0))

    assert stage.node.read(v_token, "getCash") == cash + 5 * WAD
    assert stage.node.read(v_token, "exchangeRateStored") > rate
    assert logs[-1]["topics"] == ["0x" + venus("VBep20Delegate").topic("CashSynced").hex()]


def test_an_old_market_counts_what_it_is_given_until_it_is_modernised(stage: VenusStage) -> None:
    wbtc = stage.market.listings["WBTC"]
    donation = VenusActions(stage.market).donate("WBTC", wbtc.asset.unit)
    stage.fresh()
    before = stage.node.read(wbtc.v_token, "getCash")
    send(stage, donation)
    assert stage.node.read(wbtc.v_token, "getCash") == before + wbtc.asset.unit
    with pytest.raises(RpcError):
        stage.node.read(wbtc.v_token, "internalCash")

    proxy = Contract(wbtc.v_token.address, venus("VBep20Delegator"))
    new = stage.market.implementation
    send(stage, order(proxy, "modernise", "_setImplementation", new, OFF, b""))
    assert stage.node.read(wbtc.v_token, "getCash") == 0
    send(stage, order(wbtc.v_token, "setup", "sweepTokenAndSync", 0))
    send(stage, donation)

    assert stage.node.read(wbtc.v_token, "getCash") == before + wbtc.asset.unit


def test_what_is_left_of_a_flash_loan_is_a_debt_that_moves_no_cash(stage: VenusStage) -> None:
    listing, user = stage.market.listings["USDC"], stage.population.people["supplier"][0]
    actions, amount = VenusActions(stage.market), 100 * 10**6
    stage.fresh()
    cash = stage.node.read(listing.v_token, "getCash")
    collateral = actions.mint_behalf(user, "WETH", WAD), actions.enter(user, ["WETH"])
    loan = actions.flash(user, "USDC", amount, 40, "flash_debt")
    logs = send(stage, *collateral, *loan)

    left = amount * 10_009 // 10_000 - amount * 10_009 // 10_000 * 40 // 100
    assert stage.node.read(listing.v_token, "borrowBalanceStored", user) == left
    protocols = amount * 9 // 10_000 * 3 // 10
    assert stage.node.read(listing.v_token, "getCash") == cash - amount + (
        amount * 10_009 // 10_000 * 40 // 100 - protocols
    )
    code = venus("VBep20Delegate")
    wanted = ("TransferOutUnderlyingFlashLoan", "TransferInUnderlyingFlashLoan", "Borrow")
    names = {"0x" + code.topic(name).hex(): name for name in wanted}
    assert [names[t] for log in logs if (t := log["topics"][0]) in names] == list(wanted)


def test_the_last_word_of_mint_is_what_the_minter_has(stage: VenusStage) -> None:
    actions, user = VenusActions(stage.market), stage.population.everyone[0]
    v_token = stage.market.listings["DAI"].v_token
    logs = send(stage, *actions.purse(user, "DAI", 9 * WAD), actions.mint(user, "DAI", 9 * WAD))
    topic = "0x" + venus("VBep20Delegate").topic("Mint").hex()
    words = bytes_of(next(log["data"] for log in logs if topic in log["topics"]))

    last = int.from_bytes(words[96:])
    assert last == stage.node.read(v_token, "balanceOf", user)
    assert last < stage.node.read(v_token, "totalSupply")


def test_reserves_leave_inside_an_accrual_before_its_log(stage: VenusStage) -> None:
    v_token = stage.market.listings["DAI"].v_token
    code = venus("VBep20Delegate")
    names = {"0x" + code.topic(name).hex(): name for name in ("ReservesReduced", "AccrueInterest")}
    seen = []
    for _ in range(10):
        logs = send(stage, VenusActions(stage.market).accrue("DAI"))
        own = [log for log in logs if address_in(log["address"]) == v_token.address]
        seen.append([names[log["topics"][0]] for log in own])
        reduced = [log for log in own if names[log["topics"][0]] == "ReservesReduced"]
        left = [int.from_bytes(bytes_of(log["data"])[64:]) for log in reduced]
        assert all(one == stage.node.read(v_token, "totalReserves") for one in left)

    assert ["ReservesReduced", "AccrueInterest"] in seen
    assert ["AccrueInterest"] in seen


def word_at(stage: VenusStage, place: str, slot: int) -> int:
    word: str = stage.node.rpc("eth_getStorageAt", place, hex(slot), "latest")
    return int(word, 16)


def test_principal_and_index_stand_in_slot_16(stage: VenusStage) -> None:
    for user in stage.truth.borrowers_now():
        for place, leg in stage.truth.positions([user])[user].snapshots.items():
            key = bytes(12) + bytes_of(user) + ACCOUNT_BORROWS.to_bytes(32)
            slot = int.from_bytes(keccak(key))
            words = [
                stage.node.rpc("eth_getStorageAt", place, hex(slot + i), "latest") for i in (0, 1)
            ]
            principal, index = (int(word, 16) for word in words)
            v_token = stage.market.listing_at(place).v_token
            borrow_index = stage.node.read(v_token, "borrowIndex")
            assert leg.owed == (principal * borrow_index // index if principal else 0)


def test_collateral_that_is_not_entered_cannot_be_taken(stage: VenusStage) -> None:
    stage.shock("WETH", -2_900)
    user = next(iter(liquidatable(stage.truth.at())))
    actions, before = VenusActions(stage.market), stage.truth.positions([user])[user]
    _, debt, collateral = next(iter(stage.truth.verdicts([user])))
    aside = next(s for s, one in stage.market.listings.items() if not held(before, one))
    send(stage, actions.mint_behalf(user, aside, 10 * stage.market.listings[aside].asset.unit))
    stage.fresh()

    assert stage.truth.liquidation(user, debt, aside, 1) is None
    assert stage.truth.liquidation(user, debt, collateral, 1) == NO_ERROR
    send(stage, actions.enter(user, [aside]))
    stage.fresh()
    still_under = user in liquidatable(stage.truth.at())
    expected = NO_ERROR if still_under else REJECTED
    assert stage.truth.liquidation(user, debt, aside, 1) == expected


def held(position: Position, listing: Listing) -> bool:
    place = listing.v_token.address
    return place in position.entered or position.snapshots[place].tokens > 0
