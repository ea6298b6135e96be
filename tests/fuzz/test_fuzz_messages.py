"""What nodes answer: over HTTP, over a socket, inside a multicall."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest
from eth_abi import abi
from eth_abi.exceptions import DecodingError
from hypothesis import strategies as st

from chimera.chain.reader import RpcReader
from chimera.domain.block import Address, Block, BlockHash, LogQuery
from chimera.domain.call import BoundedCall, Call, Slot
from chimera.errors import ChimeraError
from chimera.rpc.announcements import Conversation
from chimera.rpc.client import HttpClient
from chimera.rpc.faults import NodeError, fault_of, fault_of_status, pause_asked_for
from chimera.rpc.multicall import decode_results
from chimera.rpc.wire import hexed
from tests.fakes_chain import ScriptedClient
from tests.fuzz.fuzzing import EDGES, TEXTS, Draw, Fuzz, rarely, spoiled, spoiled_json

POOL, TOPIC = Address(b"\x01" * 20), b"\x0a" * 32
BLOCK = Block(100, BlockHash(b"\xb1" * 32), BlockHash(b"\xb0" * 32), 1_700_000_000)
QUERY = LogQuery(frozenset({POOL}), frozenset({TOPIC}))
CALLS = (Call(POOL, b"\x01"), Call(POOL, b"\x02"), Slot(POOL, bytes(32)), BoundedCall(POOL, b"\3"))
STATUSES = (200, 200, 200, 400, 401, 403, 404, 413, 429, 500, 502, 503, 999)
HEADER = {
    "number": hex(BLOCK.number),
    "hash": hexed(BLOCK.hash),
    "parentHash": hexed(BLOCK.parent_hash),
    "timestamp": hex(BLOCK.timestamp),
}
LOG = {
    "address": hexed(POOL),
    "topics": [hexed(TOPIC), hexed(bytes(32))],
    "data": hexed(bytes(64)),
    "blockNumber": hex(BLOCK.number),
    "blockHash": hexed(BLOCK.hash),
    "logIndex": "0x3",
}
ERROR = {"code": -32000, "message": "execution reverted", "data": {"block": 5}}
MESSAGES = (
    "execution reverted",
    "block height is 100 but requested was 200",
    "query returned more than 10000 results",
    "header not found",
    "Too Many Requests, wait 5 s",
    "missing trie node",
)


def aggregated(count: int) -> bytes:
    """The answer of aggregate3 to calls that all succeed with one word."""
    entries = [(32 * number).to_bytes(32, "big") for number in (1, 64 // 32, 1)]
    entry = b"".join(entries) + b"\7" * 32
    offsets = [(32 * count + len(entry) * place).to_bytes(32, "big") for place in range(count)]
    head = (32).to_bytes(32, "big") + count.to_bytes(32, "big")
    return head + b"".join(offsets) + entry * count


RESULTS: dict[str, Any] = {
    "eth_chainId": "0x1",
    "eth_getCode": "0x6001",
    "eth_getBlockByNumber": HEADER,
    "eth_getBlockByHash": HEADER,
    "eth_getLogs": [LOG, {**LOG, "logIndex": "0x4"}],
    "eth_call": hexed(aggregated(2)),
    "eth_getStorageAt": hexed(bytes(32)),
}


def answer(draw: Draw, requests: list[dict[str, Any]]) -> tuple[int, bytes]:
    """Answer as a node does, or nearly so."""
    answers: list[dict[str, Any]] = [{"jsonrpc": "2.0", "id": one["id"]} for one in requests]
    for one, its in zip(requests, answers, strict=True):
        if rarely(draw, one_in=4):
            its["error"] = {**ERROR, "message": draw(st.sampled_from(MESSAGES))}
        elif one["method"] == "eth_call" and rarely(draw, one_in=2):
            its["result"] = hexed(spoiled(draw, aggregated(2)))
        else:
            its["result"] = RESULTS[one["method"]]
    document = answers if len(answers) > 1 else answers[0]
    status = draw(st.sampled_from(STATUSES))
    if rarely(draw, one_in=3):
        return status, json.dumps(document).encode()
    return status, spoiled_json(draw, document)


@contextmanager
def only_ours() -> Iterator[None]:
    with suppress(ChimeraError):
        yield


def test_http_answers(fuzz: Fuzz) -> None:
    with asyncio.Runner() as runner:

        async def ask(draw: Draw) -> None:
            # Without a second attempt, for pauses are random and answers are drawn in turn.
            client: HttpClient = ScriptedClient(partial(answer, draw), attempts=1)
            reader = RpcReader(client)
            asked: list[Callable[[], Awaitable[object]]] = [
                reader.chain_id,
                reader.head,
                partial(reader.block_at, BLOCK.number),
                partial(reader.block_of, BLOCK.hash),
                partial(reader.logs_of, BLOCK, QUERY),
                partial(reader.logs_between, 1, 100, QUERY),
                partial(reader.code_at, POOL),
                partial(reader.read, CALLS, BLOCK),
                partial(reader.read, CALLS[:2], BLOCK),
            ]
            try:
                with only_ours():
                    await draw(st.sampled_from(asked))()
            finally:
                await client.aclose()

        fuzz(lambda draw: runner.run(ask(draw)))


def test_multicall_answers(fuzz: Fuzz) -> None:
    def hold(draw: Draw) -> None:
        count = draw(st.integers(1, 4))
        data = spoiled(draw, aggregated(count))
        with only_ours():
            ours = decode_results(data, count)
            with suppress(DecodingError):  # it refuses more than we do, such as a 2 for "true"
                [theirs] = abi.decode(["(bool,bytes)[]"], data, strict=False)
                assert ours == list(theirs)

    fuzz(hold)


def test_node_errors(fuzz: Fuzz) -> None:
    words = " ".join(MESSAGES).split()

    def hold(draw: Draw) -> None:
        pieces = st.one_of(st.sampled_from(words), st.sampled_from(TEXTS), st.text(max_size=5))
        message = draw(st.one_of(st.sampled_from(MESSAGES), st.lists(pieces).map(" ".join)))
        message = message.replace("100", draw(st.sampled_from(["1", "9" * 5_000, "100"])))
        method = draw(st.sampled_from(["", "eth_call", "eth_getLogs", "eth_chainId"]))
        code = draw(st.one_of(st.sampled_from([-32700, -32601, 3, *EDGES]), st.integers()))
        assert isinstance(fault_of(NodeError(code, message), method), ChimeraError)
        assert isinstance(fault_of_status(draw(st.sampled_from(STATUSES)), method), ChimeraError)
        seconds = pause_asked_for(429, draw(st.one_of(st.text(), st.sampled_from(TEXTS), DATES)))
        assert seconds is None or 0 <= seconds <= 60

    fuzz(hold)


DATES = st.builds(
    "{} {} Nov {} {}:{}:{} {}".format,
    st.sampled_from(["Sat,", "Mon,", ""]),
    st.integers(-1, 40),
    st.sampled_from([0, 1, 99, 1970, 2026, 9999, 10**6, 10**30]),
    *[st.integers(-1, 99)] * 3,
    st.sampled_from(["GMT", "+9999", "-0000", "+99999999", ""]),
)


@pytest.mark.parametrize("chain_id", [None, 1])
def test_socket_frames(fuzz: Fuzz, chain_id: int | None) -> None:
    def hold(draw: Draw) -> None:
        talk = Conversation(silence=5.0, timeout=5.0, now=0.0, chain_id=chain_id)
        talk.watch(QUERY, 0.0)
        subscribed = ["0xaa", "0xbb", "0xcc"]
        for now in range(1, draw(st.integers(2, 8))):
            frame = draw(st.sampled_from(list(frames(subscribed))))
            raw = json.dumps(frame).encode()
            if rarely(draw, one_in=3):
                raw = spoiled_json(draw, frame)
            whole = raw.decode(errors="replace") if draw(st.booleans()) else raw
            with only_ours():
                list(talk.take([whole], float(now)))
            with only_ours():
                talk.tick(float(now))
            due = talk.wait(float(now))
            assert due is None or due >= 0
            for _, text in talk.outgoing():
                json.loads(text)

    def frames(subscribed: list[str]) -> Iterator[dict[str, Any]]:
        for number in range(1, 6):
            for result in ("0x1", "0x64", *subscribed, True):
                yield {"jsonrpc": "2.0", "id": number, "result": result}
            yield {"jsonrpc": "2.0", "id": number, "error": ERROR}
        for name in subscribed:
            for content in (HEADER, LOG, {**LOG, "removed": True}):
                params = {"subscription": name, "result": content}
                yield {"jsonrpc": "2.0", "method": "eth_subscription", "params": params}

    fuzz(hold)
