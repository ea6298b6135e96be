"""The first scan against a node that refuses in every way that nodes do: nothing is missed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web

from chimera.chain import backfill
from chimera.chain.backfill import scan
from chimera.chain.reader import RpcReader
from chimera.domain.block import Address, LogQuery
from chimera.rpc.client import HttpClient
from chimera.rpc.pool import Pool
from chimera.rpc.wire import hexed

POOL, TOPIC = Address(b"\x01" * 20), b"\x0a" * 32
QUERY = LogQuery(frozenset({POOL}), frozenset({TOPIC}))
LENGTH = 20_000
DENSE = range(8_000, 8_400)  # blocks of 40 logs each; all others have one log in ten blocks
Refusal = web.Response | dict[str, Any] | None


def logs_in(number: int) -> int:
    return 40 if number in DENSE else int(number % 10 == 0)


@dataclass
class Node:
    """Answers eth_getLogs, unless `refuse(first, last)` says otherwise."""

    refuse: Callable[[int, int], Refusal] = lambda _first, _last: None
    seconds: float = 0.0  # that an answer takes
    together: int = 1  # the first answers wait until so many are asked for at a time
    asked: list[tuple[float, int, int]] = field(default_factory=list)
    refused: int = 0
    busy: int = 0
    busiest: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        [wanted] = body["params"]
        first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        self.asked.append((time.monotonic(), first, last))
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            refusal = self.refuse(first, last)
            await asyncio.sleep(self.seconds)
            while self.busiest < self.together:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        finally:
            self.busy -= 1
        if refusal is not None:
            self.refused += 1
        if isinstance(refusal, web.Response):
            return refusal
        answer = {"error": refusal} if refusal else {"result": logs_between(first, last)}
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], **answer})


def logs_between(first: int, last: int) -> list[dict[str, Any]]:
    return [
        {
            "address": hexed(POOL),
            "topics": [hexed(TOPIC)],
            "data": "0x",
            "blockNumber": hex(number),
            "blockHash": hexed(number.to_bytes(32, "big")),
            "logIndex": hex(index),
        }
        for number in range(first, last + 1)
        for index in range(logs_in(number))
    ]


@asynccontextmanager
async def reader_of(node: Node) -> AsyncIterator[RpcReader]:
    application = web.Application()
    application.router.add_post("/", node.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    pool = Pool([HttpClient(f"http://127.0.0.1:{port}", timeout=30.0, attempts=2)])
    try:
        yield RpcReader(pool)
    finally:
        await pool.aclose()
        await runner.cleanup()


async def scanned(node: Node, *, initial_range: int = 2_000) -> None:
    """Scan the whole chain; every log has to come once and in order."""
    found, done = [], 0
    async with reader_of(node) as reader, asyncio.timeout(60):
        async for last, logs in scan(reader, QUERY, 1, LENGTH, initial_range=initial_range):
            assert last > done
            assert all(done < log.block_number <= last for log in logs)
            done = last
            found += [(log.block_number, log.log_index) for log in logs]
    expected = [(n, index) for n in range(1, LENGTH + 1) for index in range(logs_in(n))]
    assert (done, found) == (LENGTH, expected)


def too_wide(most: int) -> Callable[[int, int], Refusal]:
    def refuse(first: int, last: int) -> Refusal:
        if last - first + 1 <= most:
            return None
        return {"code": -32005, "message": f"eth_getLogs is limited to a {most} blocks range"}

    return refuse


def too_many_results(most: int) -> Callable[[int, int], Refusal]:
    def refuse(first: int, last: int) -> Refusal:
        if sum(map(logs_in, range(first, last + 1))) <= most:
            return None
        return {"code": -32602, "message": f"query returned more than {most} results"}

    return refuse


async def test_a_node_that_allows_everything_is_asked_in_parallel_and_in_wide_ranges() -> None:
    node = Node(seconds=0.02, together=backfill.IN_FLIGHT)

    await scanned(node)

    assert len(node.asked) == LENGTH // 2_000
    assert node.busiest == backfill.IN_FLIGHT


@pytest.mark.parametrize("most", [500, 1_999, 37])
async def test_a_range_that_is_too_wide_is_narrowed_and_found_once(most: int) -> None:
    node = Node(too_wide(most))

    await scanned(node)

    needed = LENGTH / most
    assert needed <= len(node.asked) - node.refused < 1.6 * needed
    assert node.refused < 20 + needed / 8


async def test_too_many_results_are_asked_for_in_parts_and_sparse_ranges_stay_wide() -> None:
    node = Node(too_many_results(1_000))

    await scanned(node)

    dense = len(DENSE) * 40 / 1_000
    assert len(node.asked) - node.refused < 4 * dense + 30
    assert node.refused < 40


class Busy:
    """Answers 429 for `seconds`, after every `most` requests that it answered."""

    def __init__(self, most: int, seconds: float, header: Callable[[], str] | None) -> None:
        self._most, self._seconds, self._header = most, seconds, header
        self._answered = 0
        self.until = 0.0
        self.too_early = 0  # requests while it had asked to be left alone

    def __call__(self, _first: int, _last: int) -> Refusal:
        now = time.monotonic()
        if now < self.until:
            self.too_early += 1
            return self._refusal()
        self._answered += 1
        if self._answered <= self._most:
            return None
        self._answered = 0
        self.until = now + self._seconds
        return self._refusal()

    def _refusal(self) -> web.Response:
        headers = {} if self._header is None else {"Retry-After": self._header()}
        return web.Response(status=429, headers=headers, text="slow down")


async def test_a_node_that_says_how_long_to_wait_is_left_alone_for_so_long() -> None:
    busy = Busy(5, 1.0, lambda: "1")
    node = Node(busy)

    await scanned(node, initial_range=1_000)

    assert node.refused >= 2
    # Those that were on their way when the first was refused cannot be called back.
    assert busy.too_early <= node.refused - busy.too_early + backfill.MOST_IN_FLIGHT


async def test_a_date_is_understood_as_well_as_seconds() -> None:
    busy = Busy(8, 2.0, lambda: formatdate(time.time() + 2, usegmt=True))
    node = Node(busy)

    await scanned(node)

    assert node.refused >= 1


async def test_a_node_that_only_says_429_is_asked_less_at_a_time() -> None:
    busy = Busy(6, 0.3, None)
    node = Node(busy, seconds=0.01)

    await scanned(node, initial_range=1_000)

    assert node.refused >= 1


async def test_all_of_it_at_once() -> None:
    busy, wide, many = Busy(12, 1.0, lambda: "1"), too_wide(700), too_many_results(1_000)
    node = Node(lambda *asked: busy(*asked) or wide(*asked) or many(*asked))

    await scanned(node)

    assert node.refused > 5
