"""Three families and four markets under one daemon, as its own process, through a life."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis import Redis

from devnet.daemon import Daemon
from devnet.proxy import CountingProxy
from devnet.redis_server import RedisServer
from devnet.town import MORPHO, NEW, OLD, VENUS, Town
from devnet.town_witness import TownWitness

BORROWERS = 200  # of each market
BLOCKS = 40
LEAPS = {0: 2, 12: 86_400, 27: 30 * 86_400}  # seconds, where chance shall not decide
MIRROR_ALONE = {"reconcile": {"enabled": False}}
PATIENCE = 60.0  # seconds for the writer of Redis, which no block waits for

# What has to happen in a life, so that a mirror which survives it has been tried.
AAVE = {"borrow", "repay", "liquidate", "collapse", "dip", "listing", "swap_aggregator", "pause"}
HAPPENINGS = {
    OLD: AAVE,
    NEW: AAVE,
    MORPHO: {
        *("borrow_shares", "repay_assets", "repay_shares", "authorised_borrow", "accrue"),
        *("liquidate_shares", "liquidate_with_bad_debt", "new_market_borrow"),
        *("set_fee", "set_fee_recipient", "price", "hand", "slide"),
    },
    VENUS: {
        *("mint", "redeem", "borrow", "repay", "liquidate", "stray", "donate", "enter_pool"),
        *("rate_model", "oracle", "listing", "modernise", "flash_debt", "add_reserves"),
        *("zero_price", "dead_price", "collateral_factor", "pool_limits", "incentive"),
    },
}


@dataclass
class Lived:
    """What one life left behind, for the tests to look at."""

    witness: TownWitness
    happened: Mapping[str, set[str]] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    known_asked_for: int = 0
    missed: set[Any] = field(default_factory=set)
    extra: set[Any] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    wanted: set[str] = field(default_factory=set)
    flagged: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    folder = tmp_path_factory.mktemp("town")
    with (
        Town.build(seed=11, borrowers=BORROWERS) as town,
        CountingProxy(town.anvil.http) as proxy,
        RedisServer() as redis,
    ):
        config = town.write_config(
            folder / "town.toml",
            ws=proxy.ws,
            http=proxy.http,
            redis_url=redis.url,
            extra=MIRROR_ALONE,
        )
        with Daemon(config, folder / "daemon.log") as daemon:
            yield live(town, daemon, proxy, redis)


def live(town: Town, daemon: Daemon, proxy: CountingProxy, redis: RedisServer) -> Lived:
    lived = Lived(TownWitness(town, daemon))
    lived.witness.attend(town.node.number)
    known = town.users()
    proxy.reset()
    for step in range(BLOCKS):
        lived.witness.attend(town.step(seconds=LEAPS.get(step)))
    lived.requests = dict(proxy.counts)
    lived.known_asked_for = proxy.per_account_requests(known)
    lived.missed, lived.extra = lived.witness.missed_and_extra()
    lived.happened = {name: set(+kinds) for name, kinds in town.happened.items()}
    _, positions = daemon.positions()
    lived.wanted = {f"position:{p['protocol']}:{p['user']}" for p in positions if p["debt"]}
    _, opportunities = daemon.opportunities()
    lived.flagged = {one["protocol"].partition(".")[0] for one in opportunities}
    with Redis.from_url(redis.url, decode_responses=True) as client:
        lived.keys = settled_keys(client, lived.wanted)
    return lived


def settled_keys(client: Redis, wanted: set[str]) -> set[str]:
    """Return which positions stand in Redis once they are those wanted, or patience is over."""
    deadline = time.monotonic() + PATIENCE
    while True:
        keys = set(client.scan_iter("position:*", count=1000))
        if keys == wanted or time.monotonic() > deadline:
            return keys
        time.sleep(0.05)


def test_everybody_equals_the_contracts_at_every_block(lived: Lived) -> None:
    assert lived.witness.mismatches == []
    assert set(lived.witness.compared) == {OLD, NEW, MORPHO, VENUS}
    assert min(lived.witness.compared.values()) > BORROWERS * BLOCKS * 3 // 4


def test_the_flags_are_those_of_the_rule(lived: Lived) -> None:
    assert (lived.missed, lived.extra) == (set(), set())
    assert lived.witness.rule.under_once()
    assert lived.flagged == {OLD, NEW, MORPHO, VENUS}


def test_the_life_was_one_worth_surviving(lived: Lived) -> None:
    for name, wanted in HAPPENINGS.items():
        assert lived.happened[name] >= wanted, name


def test_no_request_asks_about_an_account_that_is_known(lived: Lived) -> None:
    assert lived.known_asked_for == 0


def test_a_block_costs_one_request_for_logs_and_few_multicalls(lived: Lived) -> None:
    assert lived.requests["eth_getLogs"] <= BLOCKS * 1.3
    assert lived.requests["eth_call"] <= 4 * BLOCKS


def test_every_account_of_every_market_has_its_key(lived: Lived) -> None:
    assert lived.keys == lived.wanted
    assert any(key.startswith(f"position:{MORPHO}.0x") for key in lived.keys)
