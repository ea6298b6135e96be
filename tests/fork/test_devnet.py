from __future__ import annotations

from random import Random

import pytest

from devnet.aave import VERSIONS
from devnet.actions import BANK, person
from devnet.artifacts import multicall3_creation
from devnet.node import MULTICALL3, bytes_of
from devnet.people import deck
from devnet.population import SHARES
from devnet.reserves import EMODE_ETH, EMODE_ONLY, EMODE_THRESHOLD, LATECOMER
from devnet.stage import Stage
from devnet.truth import NO_DEBT, WAD

DAY = 86_400


def test_the_pool_answers_for_everyone(stage: Stage) -> None:
    answers = stage.truth.account_data(stage.population.everyone)

    assert len(answers) == len(stage.population.everyone) >= 66
    for user in stage.population.people["plain"]:
        account = answers[user]
        assert account is not None
        assert account.total_debt > 0
        assert WAD * 102 // 100 < account.health_factor < 4 * WAD


def test_the_reserves_have_many_decimals_and_the_revision_is_the_first(stage: Stage) -> None:
    decimals = {
        symbol: stage.node.read(listing.token, "decimals")
        for symbol, listing in stage.market.listings.items()
    }

    assert stage.node.read(stage.market.pool, "POOL_REVISION") == 1
    assert len(decimals) == 8
    assert set(decimals.values()) == {2, 6, 8, 18}


def test_every_kind_of_account_is_what_it_is_called(stage: Stage) -> None:
    people, pool = stage.population.people, stage.market.pool
    holdings = stage.truth.holdings(stage.population.everyone)

    assert {stage.node.read(pool, "getUserEMode", user) for user in people["emode"]} == {EMODE_ETH}
    for user in people["switched_off"]:
        assert {h.is_collateral for h in holdings[user].values() if h.supplied} == {True, False}
    for user in people["isolated"]:
        assert holdings[user]["LINK"].is_collateral
    for user in people["delegated"]:
        assert any(holding.owed for holding in holdings[user].values())
    for user in people["supplier"]:
        assert not any(holding.owed for holding in holdings[user].values())


def test_dust_is_a_debt_like_any_other(stage: Stage) -> None:
    dust = stage.population.people["dust"]
    owing = [user for user in stage.truth.borrowers_now() if user in dust]

    assert sorted(owing) == sorted(dust)


def test_as_many_borrowers_as_were_asked_for(stage: Stage) -> None:
    ever = stage.truth.borrowers_ever()

    assert len(ever) == 60
    assert ever == stage.truth.borrowers_now()
    assert set(ever) <= set(stage.truth.holders_ever())
    assert BANK not in ever


def test_a_third_of_the_borrowers_is_close_to_the_limit(stage: Stage) -> None:
    health = [h for h in stage.truth.health_factors(stage.population.everyone).values() if h]

    assert stage.truth.unhealthy() == []
    assert sum(h < WAD * 109 // 100 for h in health) >= len(health) // 4
    assert sum(h > WAD * 3 // 2 for h in health) >= len(health) // 12


def test_multicall3_stands_at_its_canonical_address(stage: Stage) -> None:
    code = bytes_of(stage.node.rpc("eth_getCode", MULTICALL3, "latest"))
    pool = stage.market.pool
    fine = (pool.address, pool.artifact.encode("POOL_REVISION"))
    broken = (pool.address, b"\x12\x34\x56\x78")

    assert multicall3_creation().endswith(code)
    assert stage.node.multicall([fine, broken]) == [(1).to_bytes(32), None]


def test_a_new_round_is_logged_by_the_aggregator(stage: Stage) -> None:
    aggregator = stage.prices.aggregator("WETH")
    number = stage.life.shock("WETH", -1_000)
    logs = stage.node.logs(first=number)

    assert stage.node.read(stage.market.listings["WETH"].feed, "latestAnswer") == 2_250 * 10**8
    assert [log["address"] for log in logs] == [aggregator.address.lower()]
    assert bytes_of(logs[0]["topics"][0]) == aggregator.artifact.topic("AnswerUpdated")


def test_an_aggregator_is_swapped_without_a_log(stage: Stage) -> None:
    feed = stage.market.listings["WBTC"].feed
    stage.prices.swap_aggregator("WBTC", 61_000 * 10**8)
    number = stage.node.settle()

    assert stage.node.read(feed, "phaseId") == 2
    assert stage.node.read(feed, "latestRoundData")[1] == 61_000 * 10**8
    assert stage.node.logs(first=number) == []


def test_a_new_source_is_logged_by_the_oracle_and_can_be_moved_at_once(stage: Stage) -> None:
    token = stage.market.listings["DAI"].token.address
    stage.prices.replace_source("DAI", 98_000_000)
    stage.prices.set("DAI", 97_000_000)
    number = stage.node.settle()
    oracle = stage.market.oracle
    logs = stage.node.logs(first=number, addresses=[oracle.address])

    assert stage.node.read(oracle, "getAssetPrice", token) == 97_000_000
    assert [bytes_of(log["topics"][0]) for log in logs] == [
        oracle.artifact.topic("AssetSourceUpdated")
    ]


def test_the_ratio_feed_moves_with_time_and_without_a_log(stage: Stage) -> None:
    oracle, token = stage.market.oracle, stage.market.listings["wstETH"].token.address
    before = stage.node.read(oracle, "getAssetPrice", token)
    number = stage.mine(30 * DAY)
    after = stage.node.read(oracle, "getAssetPrice", token)

    assert before < after < before * 101 // 100
    assert stage.node.logs(first=number) == []


def test_a_shock_puts_people_under_water_and_the_cure_brings_them_back(stage: Stage) -> None:
    stage.life.shock("WETH", -700)
    under = stage.truth.unhealthy()
    stage.life.cure("WETH")

    assert len(under) >= 3
    assert stage.truth.unhealthy() == []


def test_a_dead_feed_makes_the_view_revert(stage: Stage) -> None:
    stage.prices.set("WETH", 0)
    stage.mine()
    answers = stage.truth.account_data(stage.population.people["emode"])

    assert set(answers.values()) == {None}


def test_an_account_without_debt_has_the_greatest_health(stage: Stage) -> None:
    supplier = stage.population.people["supplier"][0]
    account = stage.truth.account_data([supplier])[supplier]

    assert account is not None
    assert account.health_factor == NO_DEBT
    assert stage.truth.health_factors([supplier]) == {supplier: None}


@pytest.mark.parametrize("version", VERSIONS)
def test_life_is_lively_and_the_same_for_the_same_seed(version: str) -> None:
    digests, counts = set(), []
    for _ in range(2):
        with Stage.build(version=version, seed=11, borrowers=40) as stage:
            stage.life.run(15)
            digests.add((stage.truth.digest(), stage.node.block()["hash"]))
            counts.append((stage.life.succeeded, stage.life.failed))

    succeeded, failed = counts[0]
    assert len(digests) == 1
    assert counts[0] == counts[1]
    assert len(succeeded) >= 14
    assert sum(succeeded.values()) > 10 * sum(failed.values())
    assert any(kind.startswith("liquidate") for kind in succeeded)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reserve_is_listed_in_mid_life_and_its_collapse_leaves_bad_debt(version: str) -> None:
    with Stage.build(version=version, seed=3, borrowers=30) as stage:
        stage.life.run(20)
        ruined = stage.population.people["ruined"]
        accounts = stage.truth.account_data(ruined)
        prices = stage.node.read(
            stage.market.oracle, "getAssetPrice", stage.market.listings["AAVE"].token.address
        )
        owing = set(stage.truth.borrowers_now()) & set(ruined)

    assert 0 < prices < stage.market.listings["AAVE"].reserve.price * 3 // 4
    assert {account and account.total_collateral for account in accounts.values()} == {0}
    assert owing == (set(ruined) if version == "3.0.2" else set())  # else it became a deficit


def test_the_later_version_counts_an_asset_that_is_collateral_in_its_emode_only() -> None:
    with Stage.build(version="3.6.0", seed=7, borrowers=60) as stage:
        revision = stage.node.read(stage.market.pool, "POOL_REVISION")
        holdings = stage.truth.holdings(stage.population.people["emode"])
        holders = [user for user, held in holdings.items() if EMODE_ONLY.symbol in held]
        accounts = stage.truth.account_data(holders)

    assert revision == 10
    assert holders
    assert all(holdings[user][EMODE_ONLY.symbol].is_collateral for user in holders)
    assert {account and account.liquidation_threshold for account in accounts.values()} == {
        EMODE_THRESHOLD
    }


def test_another_seed_brings_other_people() -> None:
    assert person(1, 1) != person(2, 1)
    assert deck(SHARES, 60, Random(1)) != deck(SHARES, 60, Random(2))  # noqa: S311 - a seed is the point


def test_what_happened_can_be_taken_back(shared_stage: Stage) -> None:
    before, people = shared_stage.truth.digest(), shared_stage.population.next_person
    with shared_stage.undone():
        shared_stage.life.shock("WETH", -3_000)
        shared_stage.population.newcomer()
        assert shared_stage.truth.digest() != before

    assert shared_stage.truth.digest() == before
    assert shared_stage.prices.answer("WETH") == 2_500 * 10**8
    assert shared_stage.population.next_person == people


def test_chance_can_be_taken_back_as_well(shared_stage: Stage) -> None:
    stories = set()
    for _ in range(2):
        with shared_stage.undone(), shared_stage.life.same_chance():
            shared_stage.life.step()
            stories.add(shared_stage.truth.digest())

    assert len(stories) == 1


def test_a_reserve_that_was_never_listed_is_forgotten() -> None:
    with Stage.build(seed=7, borrowers=8) as stage:
        with stage.undone():
            while LATECOMER.symbol not in stage.market.listings:
                stage.life.step(seconds=2)

        assert LATECOMER.symbol not in stage.market.listings
        stage.life.run(20)  # its script once more, of which the reserve is a part
        assert stage.life.succeeded["listing"] == stage.life.succeeded["collapse"] == 1
