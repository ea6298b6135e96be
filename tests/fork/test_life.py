"""The whole daemon, as its own process, through a life of the real contracts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from devnet.aave import VERSIONS
from devnet.daemon import Daemon
from devnet.proxy import CountingProxy
from devnet.redis_server import RedisServer
from devnet.stage import Stage
from devnet.witness import Witness

BORROWERS = 300
BLOCKS = 44
LEAPS = {0: 2, 15: 86_400, 30: 30 * 86_400}  # seconds, where chance shall not decide
MIRROR_ALONE = {"reconcile": {"enabled": False}}
SECONDS = 60.0  # of patience with what comes about beside the blocks

# What has to happen in a life, so that a mirror which survives it has been tried.
HAPPENINGS = {
    "supply",
    "withdraw",
    "borrow",
    "first_borrow",
    "delegated_borrow",
    "repay",
    "repay_with_a_tokens",
    "set_emode",
    "toggle_collateral",
    "transfer_a_tokens",
    "newcomer",
    "close",
    "reopen",
    "liquidate",
    "liquidate_partly",
    "liquidate_for_a_tokens",
    "price",
    "collapse",
    "swap_aggregator",
    "replace_source",
    "threshold",
    "wake",
    "listing",
    "pause",
    "unpause",
    "emode_category",
    "emode_assets",
}


class Lived:
    """What one life left behind, for the tests to look at."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.requests: dict[str, int] = {}
        self.known_asked_for = 0
        self.newcomers_asked_for = 0
        self.missed: set[Any] = set()
        self.extra: set[Any] = set()
        self.keys: dict[str, dict[str, Any]] = {}
        self.ttls: list[int] = []
        self.listed: list[dict[str, Any]] = []
        self.witness: Witness
        self.happened: set[str] = set()
        self.log_differences = 0.0


@pytest.fixture(scope="module", params=VERSIONS)
def lived(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lived]:
    folder = tmp_path_factory.mktemp("life")
    with (
        Stage.build(version=request.param, seed=11, borrowers=BORROWERS) as stage,
        CountingProxy(stage.anvil.http) as proxy,
        RedisServer() as redis,
    ):
        config = stage.write_config(
            folder / "life.toml",
            ws=proxy.ws,
            http=proxy.http,
            redis_url=redis.url,
            extra=MIRROR_ALONE,
        )
        with Daemon(config, folder / "daemon.log") as daemon:
            yield live(stage, daemon, proxy, redis)


def live(stage: Stage, daemon: Daemon, proxy: CountingProxy, redis: RedisServer) -> Lived:
    lived = Lived()
    lived.witness = Witness(stage, daemon)
    daemon.wait_until(stage.node.number)
    lived.witness.attend(stage.node.number)
    known = set(stage.truth.borrowers_now())
    proxy.reset()
    for step in range(BLOCKS):
        moment = stage.life.step(seconds=LEAPS.get(step))
        lived.times.append(moment.seconds)
        lived.listed = lived.witness.attend(moment.number)
    lived.requests = dict(proxy.counts)
    lived.known_asked_for = proxy.per_account_requests(known)
    newcomers = set(stage.truth.borrowers_ever()) - known
    lived.newcomers_asked_for = len(proxy.requests_naming(newcomers)) - len(newcomers)
    lived.missed, lived.extra = lived.witness.missed_and_extra()
    lived.happened = {kind for kind, count in stage.life.succeeded.items() if count}
    lived.log_differences = daemon.metric("chimera_log_differences_total")

    def is_published() -> bool:
        lived.keys, lived.ttls = published(redis)
        return set(lived.keys) == keys_of(lived.listed)

    until_or_not(is_published)  # a block's positions are written after it shows
    return lived


def keys_of(positions: list[dict[str, Any]]) -> set[str]:
    return {f"position:aave:{p['user']}" for p in positions if p["debt"]}


def published(redis: RedisServer) -> tuple[dict[str, dict[str, Any]], list[int]]:
    with Redis.from_url(redis.url, decode_responses=True) as client:
        found = {name: client.get(name) for name in client.scan_iter("position:*", count=1000)}
        values = {name: json.loads(str(text)) for name, text in found.items() if text is not None}
        return values, [int(client.ttl(name)) for name in values]


def test_every_borrower_equals_the_contract_at_every_block(lived: Lived) -> None:
    assert lived.witness.mismatches == []
    assert lived.witness.compared > BORROWERS * BLOCKS * 3 // 4


def test_the_flags_are_those_of_the_rule_one_block_visits_included(lived: Lived) -> None:
    assert (lived.missed, lived.extra) == (set(), set())
    assert lived.witness.rule.episodes()
    assert lived.witness.rule.under_once()


def test_the_life_was_one_worth_surviving(lived: Lived) -> None:
    assert lived.happened >= HAPPENINGS
    assert min(lived.times) <= 2
    assert max(lived.times) >= 30 * 86_400
    assert len(lived.times) >= 40


def test_no_request_asks_about_an_account_that_is_known(lived: Lived) -> None:
    assert lived.known_asked_for == 0


def test_a_newcomer_is_asked_about_once_at_most(lived: Lived) -> None:
    assert lived.newcomers_asked_for <= 0


def test_a_block_costs_one_request_for_logs_and_two_multicalls_at_most(lived: Lived) -> None:
    assert lived.requests["eth_getLogs"] <= BLOCKS * 1.1
    assert lived.requests["eth_call"] <= 2 * BLOCKS
    assert sum(lived.requests.values()) <= 4 * BLOCKS


def test_the_subscription_delivered_what_was_sealed(lived: Lived) -> None:
    assert lived.log_differences == 0


def test_every_borrower_has_a_fresh_key_in_redis(lived: Lived) -> None:
    assert set(lived.keys) == keys_of(lived.listed)
    assert all(0 < ttl <= 60 for ttl in lived.ttls)


def test_a_quiet_market_stays_published_and_redis_may_die(tmp_path: Path) -> None:
    """Keys are refreshed by the clock, and all of them come back after a crash of Redis."""
    with Stage.build(seed=3, borrowers=30) as stage, RedisServer() as redis:
        config = stage.write_config(
            tmp_path / "quiet.toml", redis_url=redis.url, extra={"redis": {"ttl": 10}}
        )
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            daemon.wait_until(stage.node.number)
            _, positions = daemon.positions()
            wanted = keys_of(positions)
            assert len(wanted) >= 30
            until(lambda: set(published(redis)[0]) == wanted)
            for _ in range(6):  # 12 s without a block: longer than the keys live
                time.sleep(2)
                keys, ttls = published(redis)
                assert set(keys) == wanted
                assert all(0 < ttl <= 10 for ttl in ttls)
            redis.kill()
            until(lambda: daemon.get("/readyz")[1]["redis"] == "fallback")
            witness = Witness(stage, daemon)
            listed = witness.attend(stage.life.step(seconds=2).number)
            assert witness.mismatches == []
            redis.start()
            expected = {
                f"position:aave:{p['user']}": p["health_factor"] for p in listed if p["debt"]
            }
            until(lambda: health_factors(redis) == expected)
            until(lambda: daemon.get("/readyz")[1]["redis"] == "connected")


def health_factors(redis: RedisServer) -> dict[str, str]:
    return {name: value["health_factor"] for name, value in published(redis)[0].items()}


def until(holds: Callable[[], bool]) -> None:
    assert until_or_not(holds), "it did not come true in time"


def until_or_not(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while not (true := holds()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return true
