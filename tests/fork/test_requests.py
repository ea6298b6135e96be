"""What a block costs the node: two requests, both at once, whoever has debt."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.exposition import Exposition
from devnet.daemon import Daemon
from devnet.proxy import CountingProxy
from devnet.stage import Stage

BLOCKS = 5
PATIENT = 0.2  # seconds that an answer is held back: long enough for the other request to arrive
TWO = {"eth_getLogs", "eth_call"}
SUBSCRIBING = {"eth_subscribe", "eth_unsubscribe"}  # anew, at the first head after a new asset


@pytest.fixture
def proxy(stage: Stage) -> Iterator[CountingProxy]:
    with CountingProxy(stage.anvil.http) as proxy:
        yield proxy


@pytest.fixture
def daemon(stage: Stage, proxy: CountingProxy, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that has caught up, and subscribed to what it follows."""
    # A head that is long in coming is asked for, which would be counted: here it may be very long.
    alone: dict[str, dict[str, object]]
    alone = {"reconcile": {"enabled": False}, "chain": {"block_time": 60.0}}
    config = stage.write_config(tmp_path / "count.toml", http=proxy.http, ws=proxy.ws, extra=alone)
    with Daemon(config, tmp_path / "daemon.log") as daemon:
        daemon.wait_until(stage.node.number)
        for _ in range(2):
            daemon.wait_until(stage.mine())
        proxy.reset()
        yield daemon


def test_a_quiet_block_takes_one_log_query_and_one_multicall_at_the_same_time(
    stage: Stage, proxy: CountingProxy, daemon: Daemon
) -> None:
    proxy.delay = PATIENT
    before = exposition(daemon)
    for _ in range(BLOCKS):
        daemon.wait_until(stage.mine())

    methods = [request.method for request in proxy.requests]
    assert len(methods) == 2 * BLOCKS
    assert [set(methods[at : at + 2]) for at in range(0, len(methods), 2)] == [TWO] * BLOCKS
    assert proxy.most_at_once == 2
    counted = exposition(daemon).since(before).histogram("chimera_rpc_requests_per_block")
    assert (counted.count, counted.total) == (BLOCKS, 2 * BLOCKS)


def test_known_borrowers_cost_no_further_request_whatever_they_do(
    stage: Stage, proxy: CountingProxy, daemon: Daemon
) -> None:
    """Further requests are for first loans and for new assets; none names whoever is known."""
    usual = 0
    for _ in range(2 * BLOCKS):
        known, listed = stage.truth.borrowers_ever(), set(stage.market.listings)
        proxy.reset()
        daemon.wait_until(stage.life.step(seconds=2, actions=6).number)
        if (stage.truth.borrowers_ever(), set(stage.market.listings)) == (known, listed):
            usual += 1
            methods = (request.method for request in list(proxy.requests))
            assert sorted(its for its in methods if its not in SUBSCRIBING) == sorted(TWO)
        assert proxy.per_account_requests(known) == 0
    assert usual


def exposition(daemon: Daemon) -> Exposition:
    return Exposition.parse(str(daemon.get("/metrics")[1]))
