"""How each endpoint does, as metrics: every figure moves, and no two endpoints share one."""

import math
import time
from typing import Any

import pytest

from chimera.app import endpoints
from chimera.domain.block import Block, BlockHash
from chimera.observability.metrics import Metrics
from chimera.rpc.announcements import NewHead
from chimera.rpc.pool import LOOK_EVERY, Pool
from chimera.rpc.websocket import Subscription
from tests.fakes_chain import Reply, ScriptedClient
from tests.unit.test_rpc_pool import Clock, down, pooled, telling

WS = ["ws://one.example/key-of-somebody", "ws://two.example", "ws://two.example/another-key"]


class Scene:
    """Endpoints, and a page of their metrics."""

    def __init__(self, *clients: ScriptedClient) -> None:
        self.clock = Clock()
        self.pool = Pool(list(clients), clock=self.clock, draw=lambda: 0.5)
        self.subscription = Subscription(WS)
        self.metrics = Metrics()
        endpoints.show(self.metrics, self.pool, self.subscription.sources)

    def shown(self, figure: str, endpoint: str, kind: str) -> float:
        name = f'chimera_endpoint_{figure}{{endpoint="{endpoint}",kind="{kind}"}} '
        lines = self.metrics.render().decode().splitlines()
        [line] = [line for line in lines if line.startswith(name)]
        return float(line.rsplit(" ", 1)[1])


def client(*replies: Reply, name: str) -> ScriptedClient:
    return ScriptedClient(*replies, url=f"http://{name}.example/secret-key", attempts=1)


def block(number: int, *, timestamp: int = 1) -> Block:
    return Block(number, BlockHash(number.to_bytes(32, "big")), BlockHash(bytes(32)), timestamp)


async def test_an_endpoint_that_fails_shows_its_breaker_and_its_error_rate() -> None:
    scene = Scene(client(down, name="one"), client(telling("0x2"), name="two"))
    assert scene.shown("breaker", "one.example", "http") == 0
    assert scene.shown("error_rate", "one.example", "http") == 0

    await pooled(scene.pool)

    assert scene.shown("breaker", "one.example", "http") == 2
    assert scene.shown("error_rate", "one.example", "http") == pytest.approx(0.1)
    assert scene.shown("breaker", "two.example", "http") == 0
    scene.pool.members[0].breaker.proved()
    assert scene.shown("breaker", "one.example", "http") == 1


async def test_an_answer_shows_how_long_it_took() -> None:
    def slow(requests: list[dict[str, Any]]) -> tuple[int, bytes] | Exception:
        scene.clock.now += 0.25
        return telling("0x1")(requests)

    scene = Scene(client(slow, name="one"))
    assert math.isnan(scene.shown("latency_seconds", "one.example", "http"))

    await pooled(scene.pool)

    assert scene.shown("latency_seconds", "one.example", "http") == pytest.approx(0.25)


async def test_heads_show_their_age_and_who_lags() -> None:
    one, two = (telling("0x1", head=head) for head in (98, 100))
    scene = Scene(client(one, name="one"), client(two, name="two"))
    assert math.isnan(scene.shown("lag_blocks", "one.example", "http"))
    assert math.isnan(scene.shown("head_age_seconds", "one.example", "http"))

    scene.clock.now = LOOK_EVERY
    await pooled(scene.pool)
    for probe in list(scene.pool._probes.values()):
        await probe

    assert scene.shown("lag_blocks", "one.example", "http") == 2
    assert scene.shown("lag_blocks", "two.example", "http") == 0
    age = scene.shown("head_age_seconds", "one.example", "http")
    assert age == pytest.approx(time.time() - 1, abs=60)  # the block is of second 1


async def test_an_announced_head_shows_at_its_socket() -> None:
    scene = Scene(client(down, name="one"))
    one, two, _ = scene.subscription.sources
    made = int(time.time()) - 40
    one.health.failed()

    scene.subscription._note(one, NewHead(block(7, timestamp=made), arrived_ns=1))

    assert scene.shown("head_age_seconds", "one.example", "ws") == pytest.approx(40, abs=20)
    assert scene.shown("lag_blocks", "one.example", "ws") == 0
    assert scene.shown("error_rate", "one.example", "ws") == pytest.approx(0.09)
    scene.subscription._left(two, ConnectionError("gone"), told=False)
    assert scene.shown("breaker", "two.example", "ws") == 2
    assert scene.shown("error_rate", "two.example", "ws") == pytest.approx(0.1)


async def test_a_socket_that_waits_is_looked_at_now_and_then() -> None:
    async def standing(url: str) -> tuple[int, int]:
        asked.append(url)
        return 1, 98

    asked: list[str] = []
    scene = Scene(client(down, name="one"))
    subscription = scene.subscription
    subscription._ask_standing = standing
    one, two, _ = subscription.sources
    subscription._note(one, NewHead(block(100), arrived_ns=1))
    assert not subscription._is_better_elsewhere(one)
    assert subscription._probes == {}

    two.look_at = time.monotonic()
    assert not subscription._is_better_elsewhere(one)
    for probe in list(subscription._probes.values()):
        await probe

    assert asked == [WS[1]]
    assert scene.shown("lag_blocks", "two.example", "ws") == 2
    assert scene.shown("latency_seconds", "two.example", "ws") >= 0
    assert two.works  # two blocks are no reason
    subscription._note(one, NewHead(block(102), arrived_ns=1))
    subscription._probe(two)
    await subscription._probes[two]
    assert not two.works


def test_two_keys_of_one_provider_are_two_endpoints_and_neither_key_is_shown() -> None:
    scene = Scene(client(down, name="one"))
    scene.subscription.sources[2].health.failed()

    assert scene.shown("error_rate", "two.example", "ws") == 0
    assert scene.shown("error_rate", "two.example #2", "ws") > 0
    assert "key" not in scene.metrics.render().decode()


def test_doors_name_everyone_and_tell_the_preferred() -> None:
    scene = Scene(client(down, name="one"), client(down, name="two"))
    scene.subscription.sources[2].breaker.failed("it lags")
    doors = endpoints.doors(scene.pool.members, scene.subscription.sources)

    assert [(its.label, its.preferred) for its in doors] == [
        ("one.example (http)", True),
        ("two.example (http)", False),
        ("one.example (ws)", True),
        ("two.example (ws)", False),
        ("two.example #2 (ws)", False),
    ]
    assert [its.state for its in doors] == ["closed"] * 4 + ["open"]
