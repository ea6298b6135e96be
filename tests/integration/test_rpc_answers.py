"""Answers without end: a client takes no more of one than it can keep."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chimera.errors import ChimeraError, RangeTooWide, Retry
from chimera.rpc.client import HttpClient, OnRequest, Request
from chimera.rpc.faults import TooHeavy
from chimera.rpc.wire import TEXT

SMALL = 1_000  # bytes


@asynccontextmanager
async def endpoint(on_request: OnRequest = lambda *_: None) -> AsyncIterator[HttpClient]:
    """An endpoint that answers a request with as many digits as it is asked for."""

    async def answer(request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read())
        many = asked if isinstance(asked, list) else [asked]
        told = [{"id": one["id"], "result": "0" * one["params"][0]} for one in many]
        body = msgspec.json.encode(told if isinstance(asked, list) else told[0])
        response = web.Response(body=body)
        response.enable_compression()  # so that the length is not told beforehand
        return response

    app = web.Application()
    app.router.add_post("/", answer)
    async with TestServer(app) as server:
        client = HttpClient(str(server.make_url("/")), attempts=1, on_request=on_request)
        yield client
        await client.aclose()


@pytest.fixture(autouse=True)
def _little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chimera.rpc.client.MAX_ANSWER", SMALL)


@pytest.mark.parametrize(
    ("method", "fault"), [("eth_call", TooHeavy), ("eth_getLogs", RangeTooWide)]
)
async def test_less_is_asked_for_after_an_answer_that_is_too_large(
    method: str, fault: type[ChimeraError]
) -> None:
    async with endpoint() as client:
        fits = await client.call(method, [SMALL - 100], TEXT, purpose="check")
        assert len(fits) == SMALL - 100
        with pytest.raises(
            fault, match=r"127\.0\.0\.1:\d+: \w+: the answer is larger than 1000 bytes"
        ):
            await client.call(method, [SMALL], TEXT, purpose="check")


async def test_a_batch_whose_answer_is_too_large_is_asked_for_in_parts() -> None:
    sent: list[str] = []
    async with endpoint(lambda _endpoint, method, _purpose: sent.append(method)) as client:
        asked: list[Request] = [("eth_call", [200 + number]) for number in range(8)]
        told = await client.batch(asked, TEXT, purpose="check")

    assert [len(str(one)) for one in told] == [200 + number for number in range(8)]
    assert len(sent) > len(asked)


async def test_a_node_that_is_away_leaves_no_garbage_that_only_a_collection_finds() -> None:
    async with endpoint() as client:
        url = client.endpoint.url
    away = HttpClient(url, attempts=2, first_pause=0.001)
    faults = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            try:
                await away.call("eth_call", [1], TEXT, purpose="check")
            except Retry as fault:
                faults.append(weakref.ref(fault))
            await asyncio.sleep(0)
        assert [fault() for fault in faults] == [None] * 3
    finally:
        gc.enable()
        await away.aclose()
