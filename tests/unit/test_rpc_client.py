"""The HTTP client: batches, shared answers, retries, and answers that are none."""

import asyncio
import contextlib
import gc
from typing import Any

import msgspec
import pytest

from chimera.errors import ChimeraError, RangeTooWide, Retry
from chimera.rpc.client import Request
from chimera.rpc.faults import Denied, Reverted, TimedOut, Unsupported
from chimera.rpc.wire import HEADER, LOGS, TEXT
from tests.fakes_chain import Reply, ScriptedClient, answering, refusing, saying

ECHO = answering(lambda _method, params: params[0])
CALL: Request = ("eth_getCode", ["0x01"])


async def ask(client: ScriptedClient, method: str = "eth_getCode", *params: object) -> str:
    return await client.call(method, list(params) or ["0x01"], TEXT, purpose="check")


async def test_a_request_is_answered() -> None:
    client = ScriptedClient(ECHO)

    assert await ask(client) == "0x01"
    assert client.bodies == [
        [{"jsonrpc": "2.0", "id": 1, "method": "eth_getCode", "params": ["0x01"]}]
    ]


async def test_every_request_is_counted_without_its_key() -> None:
    told: list[tuple[str, str, str]] = []
    client = ScriptedClient(
        refusing(-32000, "header not found"),
        ECHO,
        url="https://node.example/v2/S3cretKey123",
        on_request=lambda *what: told.append(what),
    )

    await ask(client)

    assert told == [("node.example", "eth_getCode", "check")] * 2


@pytest.mark.parametrize("reply", [ECHO, refusing(3, "execution reverted")], ids=["well", "ill"])
async def test_requests_leave_no_garbage_that_only_a_collection_finds(reply: Reply) -> None:
    client = ScriptedClient(reply)

    async def ask_often(times: int) -> int:
        for _ in range(times):
            with contextlib.suppress(ChimeraError):
                await ask(client, "eth_call")
            await asyncio.sleep(0)
        return gc.collect()

    await ask_often(3)
    gc.disable()
    try:
        assert await ask_often(100) <= await ask_often(1) + 20
    finally:
        gc.enable()


async def test_identical_requests_under_way_share_one_answer() -> None:
    client = ScriptedClient(ECHO)

    answers = await asyncio.gather(*[ask(client) for _ in range(5)], ask(client, "other", "0x02"))

    assert answers == ["0x01"] * 5 + ["0x02"]
    assert len(client.bodies) == 2


async def test_a_later_request_is_asked_anew() -> None:
    client = ScriptedClient(ECHO)

    await ask(client)
    await ask(client)

    assert len(client.bodies) == 2


async def test_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    client = ScriptedClient(ECHO)
    impatient = asyncio.ensure_future(ask(client))
    patient = asyncio.ensure_future(ask(client))
    await asyncio.sleep(0)

    impatient.cancel()

    assert await patient == "0x01"


async def test_a_batch_keeps_its_order_whatever_the_order_of_the_answers() -> None:
    def backwards(requests: list[dict[str, Any]]) -> tuple[int, bytes]:
        answers = [{"id": one["id"], "result": one["params"][0]} for one in reversed(requests)]
        return 200, msgspec.json.encode(answers)

    client = ScriptedClient(backwards)

    answers = await client.batch([("m", [hex(n)]) for n in range(5)], TEXT, purpose="check")

    assert answers == [hex(n) for n in range(5)]


async def test_a_batch_is_split_by_number_and_by_size() -> None:
    few, small = ScriptedClient(ECHO, max_batch=4), ScriptedClient(ECHO, max_body=250)
    requests: list[Request] = [("m", [f"0x{n:04x}"]) for n in range(10)]

    assert len(await few.batch(requests, TEXT, purpose="check")) == 10
    assert len(await small.batch(requests, TEXT, purpose="check")) == 10

    assert sorted(len(body) for body in few.bodies) == [2, 4, 4]
    assert all(len(msgspec.json.encode(body)) <= 260 for body in small.bodies)
    assert len(small.bodies) > 2


async def test_a_batch_asks_the_same_thing_once() -> None:
    client = ScriptedClient(ECHO)

    assert await client.batch([CALL, CALL], TEXT, purpose="check") == ["0x01", "0x01"]
    assert [len(body) for body in client.bodies] == [1]


async def test_of_half_a_batch_only_the_missing_half_is_asked_again() -> None:
    def half(requests: list[dict[str, Any]]) -> tuple[int, bytes]:
        answered = requests[: len(requests) // 2]
        answers = [{"id": one["id"], "result": one["params"][0]} for one in answered]
        return 200, msgspec.json.encode(answers)

    client = ScriptedClient(half, ECHO)

    answers = await client.batch([("m", [hex(n)]) for n in range(4)], TEXT, purpose="check")

    assert answers == ["0x0", "0x1", "0x2", "0x3"]
    assert [one["params"][0] for one in client.bodies[1]] == ["0x2", "0x3"]


async def test_a_fault_in_a_batch_stays_with_its_request() -> None:
    def mixed(requests: list[dict[str, Any]]) -> tuple[int, bytes]:
        good, bad = requests
        error = {"code": 3, "message": "execution reverted"}
        answers = [{"id": good["id"], "result": "0x"}, {"id": bad["id"], "error": error}]
        return 200, msgspec.json.encode(answers)

    client = ScriptedClient(mixed)
    requests: list[Request] = [("eth_call", ["0x1"]), ("eth_call", ["0x2"])]

    good, bad = await client.batch(requests, TEXT, purpose="check")

    assert good == "0x"
    assert isinstance(bad, Reverted)


async def test_a_batch_that_the_node_finds_too_large_is_halved_and_the_size_remembered() -> None:
    def picky(requests: list[dict[str, Any]]) -> tuple[int, bytes]:
        if len(requests) > 3:
            error = {"code": -32600, "message": "maximum batch size is 3"}
            return 200, msgspec.json.encode({"id": None, "error": error})
        outcome = ECHO(requests)
        assert isinstance(outcome, tuple)
        return outcome

    client = ScriptedClient(picky)
    requests: list[Request] = [("m", [hex(n)]) for n in range(10)]

    assert len(await client.batch(requests, TEXT, purpose="check")) == 10
    client.bodies.clear()
    await client.batch(requests, TEXT, purpose="check")

    assert max(len(body) for body in client.bodies) <= 3


@pytest.mark.parametrize(
    "first",
    [
        saying(b"<html>502 Bad Gateway</html>", status=502),
        saying(b"<html>welcome</html>"),
        saying(b""),
        saying(b"[]"),
        saying(b"null"),
        saying(b'{"jsonrpc":"2.0","id":99,"result":"0x"}'),
        saying(b'{"jsonrpc":"2.0","id":1}'),
        saying(b'{"jsonrpc":"2.0","id":1,"result":{"a":1}}'),
        saying(b'{"jsonrpc":"2.0","id":1,"result":null}'),
        saying(b'{"jsonrpc":"2.0","id":1,"result":"0x01"', status=200),
        saying(b"\xff\xfe\x00"),
        saying(b"slow down", status=429),
        saying(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"slow"}}', status=429),
        refusing(-32005, "rate limit exceeded"),
        refusing(-32000, "header not found"),
        lambda _requests: TimedOut("no answer"),
        lambda _requests: Retry("connection reset"),
    ],
)
async def test_what_is_no_answer_is_asked_again(first: Reply) -> None:
    client = ScriptedClient(first, ECHO)

    assert await ask(client) == "0x01"
    assert len(client.bodies) == 2


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refusing(-32601, "Method not found"), Unsupported),
        (refusing(-32602, "invalid argument"), Unsupported),
        (refusing(-32600, "nonsense", status=400), ChimeraError),
        (saying(b"who are you?", status=401), Denied),
        (refusing(-32600, "bad key", status=403), Denied),
    ],
)
async def test_what_cannot_succeed_is_raised_at_once(
    reply: Reply, kind: type[ChimeraError]
) -> None:
    client = ScriptedClient(reply)

    with pytest.raises(kind):
        await ask(client)
    assert len(client.bodies) == 1


async def test_a_range_that_is_too_wide_is_not_repeated() -> None:
    client = ScriptedClient(refusing(-32005, "query returned more than 10000 results"))

    with pytest.raises(RangeTooWide):
        await client.call("eth_getLogs", [{}], LOGS, purpose="backfill")
    assert len(client.bodies) == 1


async def test_it_gives_up_after_its_attempts_and_says_who_failed() -> None:
    client = ScriptedClient(refusing(-32000, "header not found"), attempts=3)

    with pytest.raises(Retry, match=r"node\.example.*eth_getCode: header not found"):
        await ask(client)
    assert len(client.bodies) == 3


async def test_a_key_in_the_url_never_stands_in_an_error() -> None:
    client = ScriptedClient(
        refusing(-32601, "no such method for key S3cretKey123"),
        url="https://node.example/v2/S3cretKey123",
    )

    with pytest.raises(Unsupported) as caught:
        await ask(client)
    assert "S3cretKey123" not in str(caught.value)


async def test_a_missing_block_is_none() -> None:
    client = ScriptedClient(answering(lambda _method, _params: None))

    assert await client.call("eth_getBlockByNumber", ["0x9"], HEADER, purpose="head") is None


async def test_closing_it_ends_what_is_under_way() -> None:
    client = ScriptedClient(refusing(-32000, "header not found"), attempts=10_000)
    waiting = asyncio.ensure_future(ask(client))
    await asyncio.sleep(0.01)

    await client.aclose()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_fault_of_our_own_reaches_whoever_waits() -> None:
    client = ScriptedClient(lambda _requests: ZeroDivisionError())

    with pytest.raises(ZeroDivisionError):
        await ask(client)
    with pytest.raises(ZeroDivisionError):
        await client.batch([CALL, ("m", [])], TEXT, purpose="check")
