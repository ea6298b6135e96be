"""Several endpoints: whom the pool asks, whom it leaves alone, whom it never uses."""

import asyncio
import gc
import weakref
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from chimera.errors import RangeTooWide, Retry
from chimera.rpc.faults import AskedToWait, Garbled, WrongChain
from chimera.rpc.pool import LOOK_EVERY, MOST_LAG, Pool
from chimera.rpc.wire import LOGS, TEXT
from tests.fakes_chain import Reply, ScriptedClient, answering, refusing, saying

CALL = ("eth_getCode", ["0x01"])
MAYBE = msgspec.json.Decoder(str | None)
ECHO = answering(lambda _method, params: params[0])
URL = "http://node.example/v2/0123456789abcdef"


def telling(answer: str, *, chain: int = 1, head: int = 100) -> Reply:
    """Reply as an endpoint on `chain` that stands at `head`."""
    header = {
        "number": hex(head),
        "hash": "0x" + "11" * 32,
        "parentHash": "0x" + "22" * 32,
        "timestamp": "0x1",
    }
    known: dict[str, object] = {"eth_chainId": hex(chain), "eth_getBlockByNumber": header}
    return answering(lambda method, _params: known.get(method, answer))


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def down(_requests: list[dict[str, Any]]) -> Exception:
    return Retry("connection refused")


async def pooled(pool: Pool) -> str:
    return await pool.call("eth_getCode", ["0x01"], TEXT, purpose="check")


async def test_a_pool_asks_the_next_endpoint_when_the_preferred_one_fails() -> None:
    first, second = ScriptedClient(down, attempts=1), ScriptedClient(ECHO)
    pool = Pool([first, second])

    assert await pooled(pool) == "0x01"
    assert await pooled(pool) == "0x01"

    assert (len(first.bodies), len(second.bodies)) == (1, 2)


async def probed(pool: Pool) -> None:
    await asyncio.gather(*pool._probes.values())


async def test_a_pool_returns_to_the_preferred_endpoint_once_it_answers_a_probe() -> None:
    clock = Clock()
    first = ScriptedClient(down, telling("0x1"), attempts=1)
    second = ScriptedClient(telling("0x2"))
    pool = Pool([first, second], first_rest=15.0, clock=clock, draw=lambda: 0.5)
    assert await pooled(pool) == "0x2"
    for now in (15.0, 30.0):  # one good probe is not enough
        clock.now = now
        assert await pooled(pool) == "0x2"
        await probed(pool)

    assert await pooled(pool) == "0x1"
    probe = "eth_getBlockByNumber"
    assert [body[0]["method"] for body in first.bodies[1:]] == [probe, probe, "eth_getCode"]


async def test_a_pool_does_not_blame_an_endpoint_for_a_range_that_is_too_wide() -> None:
    wide = refusing(-32005, "query returned more than 10000 results")
    first, second = ScriptedClient(wide, ECHO), ScriptedClient(ECHO)
    pool = Pool([first, second])

    with pytest.raises(RangeTooWide):
        await pool.call("eth_getLogs", [{}], LOGS, purpose="backfill")

    assert await pooled(pool) == "0x01"
    assert second.bodies == []


async def test_a_pool_asks_another_endpoint_for_a_block_that_one_does_not_have_yet() -> None:
    behind = ScriptedClient(refusing(-32000, "header not found"), ECHO, attempts=1)
    pool = Pool([behind, ScriptedClient(answering(lambda *_: "0x2"))])

    assert await pooled(pool) == "0x2"
    assert await pooled(pool) == "0x01"


@pytest.mark.parametrize("method", ["eth_getBlockByHash", "eth_getBlockByNumber"])
async def test_a_pool_does_not_believe_the_first_endpoint_that_there_is_no_such_block(
    method: str,
) -> None:
    nothing = answering(lambda *_: None)
    behind, ill = ScriptedClient(nothing), ScriptedClient(down, attempts=1)
    pool = Pool([behind, ill, ScriptedClient(answering(lambda *_: "0x3"))])

    assert await pool.call(method, ["0x01"], MAYBE, purpose="seal") == "0x3"
    assert await pool.call(method, ["0x02"], MAYBE, purpose="seal") == "0x3"
    assert await pool.call("eth_getCode", ["0x01"], MAYBE, purpose="check") is None
    assert len(ill.bodies) == 1, "it rests after a fault"
    assert await Pool([behind, ill]).call(method, ["0x01"], MAYBE, purpose="seal") is None


async def test_a_pool_of_which_none_answers_raises_the_last_fault() -> None:
    pool = Pool([ScriptedClient(down, attempts=1), ScriptedClient(saying(b"?"), attempts=1)])

    with pytest.raises(Garbled):
        await pooled(pool)


def asked_to_wait(_requests: list[dict[str, Any]]) -> Exception:
    return AskedToWait("HTTP 429, wait 60 s", 60.0)


async def test_the_pause_of_one_endpoint_holds_up_nobody_who_may_ask_another() -> None:
    first = ScriptedClient(down, down, ECHO, attempts=1)
    pool = Pool([first, ScriptedClient(asked_to_wait)], clock=Clock())

    for _ in range(2):
        with pytest.raises(Retry, match="refused") as fault:
            await pooled(pool)
        assert fault.value.pause == 0

    assert await pooled(pool) == "0x01"


async def test_who_asked_for_a_pause_is_not_asked_before_it_is_over() -> None:
    clock = Clock()
    busy = ScriptedClient(asked_to_wait, ECHO)
    pool = Pool([busy], clock=clock, draw=lambda: 0.5)
    for now in (0.0, 20.0, 59.0):
        clock.now = now
        with pytest.raises(Retry, match="wait") as fault:
            await pooled(pool)
        assert fault.value.pause == 60.0 - now
        await probed(pool)

    assert len(busy.bodies) == 1
    clock.now = 60.0
    assert await pooled(pool) == "0x01"


async def test_of_two_pauses_the_shorter_one_counts() -> None:
    def soon(_requests: list[dict[str, Any]]) -> Exception:
        return AskedToWait("HTTP 503", 7.0)

    pool = Pool([ScriptedClient(soon), ScriptedClient(asked_to_wait)], clock=Clock())

    for _ in range(2):
        with pytest.raises(Retry) as fault:
            await pooled(pool)
        assert fault.value.pause == 7.0


async def test_a_pool_moves_a_whole_batch_to_the_next_endpoint() -> None:
    pool = Pool([ScriptedClient(down, attempts=1), ScriptedClient(ECHO)])

    assert await pool.batch([CALL, ("m", ["0x2"])], TEXT, purpose="check") == ["0x01", "0x2"]


def methods(client: ScriptedClient) -> list[str]:
    return [one["method"] for body in client.bodies for one in body]


async def looked(pool: Pool, clock: Clock, seconds: float) -> None:
    """Let time pass, and the probes that a request then starts end."""
    clock.now += seconds
    await pooled(pool)
    await probed(pool)


async def test_an_endpoint_on_another_chain_is_never_asked_for_anything_but_its_chain() -> None:
    clock = Clock()
    foreign, ours = ScriptedClient(telling("0xbad", chain=2)), ScriptedClient(telling("0x2"))
    pool = Pool([foreign, ours], chain_id=1, clock=clock, draw=lambda: 0.5)

    for _ in range(30):
        clock.now += 7.0
        assert await pooled(pool) == "0x2"
        await asyncio.sleep(0)

    assert set(methods(foreign)) == {"eth_chainId"}
    assert pool.in_use is pool.members[1]


async def test_an_only_endpoint_on_another_chain_answers_nothing() -> None:
    foreign = ScriptedClient(telling("0xbad", chain=2))
    pool = Pool([foreign], chain_id=1)

    for _ in range(3):
        with pytest.raises(WrongChain, match="chain 2"):
            await pooled(pool)

    assert set(methods(foreign)) == {"eth_chainId"}


async def test_an_endpoint_that_failed_proves_its_chain_anew() -> None:
    """Behind one name there may be another node by then."""
    clock = Clock()
    first = ScriptedClient(
        telling("0x1"), telling("0x1"), down, telling("0xbad", chain=2), attempts=1
    )
    pool = Pool([first, ScriptedClient(telling("0x2"))], chain_id=1, clock=clock)
    assert await pooled(pool) == "0x1"
    assert await pooled(pool) == "0x2"

    for _ in range(20):
        await looked(pool, clock, 10.0)
        assert await pooled(pool) == "0x2"

    assert methods(first)[3:] == ["eth_chainId"] * (len(methods(first)) - 3)


async def test_an_endpoint_that_lags_is_left_and_used_again_once_it_has_caught_up() -> None:
    clock = Clock()
    lagging = telling("0x1", head=100 - MOST_LAG - 1)
    first = ScriptedClient(*[lagging] * 5, telling("0x1"))
    pool = Pool([first, ScriptedClient(telling("0x2"))], clock=clock, draw=lambda: 0.5)
    assert await pooled(pool) == "0x1"

    await looked(pool, clock, LOOK_EVERY)  # who is asked first has nobody to compare with
    await looked(pool, clock, LOOK_EVERY)
    assert await pooled(pool) == "0x2"
    assert "lags 4 blocks" in pool.members[0].breaker.why
    for _ in range(6):
        await looked(pool, clock, LOOK_EVERY)

    assert await pooled(pool) == "0x1"
    assert pool.lag(pool.members[0]) == 0


async def test_the_last_resort_is_used_at_once_and_counts_as_working_again() -> None:
    pool = Pool([ScriptedClient(down, telling("0x1"), attempts=1)])
    with pytest.raises(Retry):
        await pooled(pool)
    assert pool.in_use is None

    assert await pooled(pool) == "0x1"
    assert pool.in_use is pool.members[0]


async def test_a_fault_is_no_garbage_that_only_a_collection_finds() -> None:
    pool = Pool([ScriptedClient(down, attempts=1), ScriptedClient(ECHO)])
    await pooled(pool)
    failing = Pool([ScriptedClient(down, attempts=1)])
    gc.collect()
    gc.disable()
    try:
        faults = []
        for _ in range(3):
            try:
                await pooled(failing)
            except Retry as fault:
                faults.append(weakref.ref(fault))
            await asyncio.sleep(0)
        assert [fault() for fault in faults] == [None] * 3
    finally:
        gc.enable()


async def test_no_key_of_an_endpoint_is_told() -> None:
    client = ScriptedClient(refusing(-32000, f"go away {URL}", status=403), url=URL, attempts=1)
    pool = Pool([client, ScriptedClient(telling("0x2"))])
    with capture_logs() as logs:
        assert await pooled(pool) == "0x2"

    assert "0123456789abcdef" not in str(logs) + pool.members[0].breaker.why
    assert [line["endpoint"] for line in logs] == ["node.example"]


async def test_figures_of_an_endpoint_follow_what_it_does() -> None:
    pool = Pool([ScriptedClient(down, telling("0x1"), attempts=1)])
    with pytest.raises(Retry):
        await pooled(pool)
    failing = pool.members[0].health.error_rate
    await pooled(pool)

    assert 0 < pool.members[0].health.error_rate < failing <= 1
