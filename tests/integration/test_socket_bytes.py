"""The subscription's socket, byte by byte: fragments, rubbish, floods, farewells, certificates."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from chimera.domain.block import Address, LogQuery
from chimera.rpc.announcements import Connected, Disconnected, Event, NewHead, NewLogs
from chimera.rpc.websocket import Subscription

SECONDS = 60.0  # of patience with a slow machine
QUERY = LogQuery(frozenset({Address(b"\x01" * 20)}), frozenset({b"\x0a" * 32}))
FLOOD = 40_000  # logs of some 1 kB: more than the kernel holds on both sides


def word(number: int) -> str:
    return f"0x{number:064x}"


def head(number: int) -> bytes:
    header = {"number": hex(number), "hash": word(number), "parentHash": word(number - 1)}
    announced = {"subscription": "heads", "result": {**header, "timestamp": "0x1"}}
    return json.dumps({"params": announced}).encode()


def log(place: int) -> bytes:
    words = {"address": "0x" + "01" * 20, "topics": ["0x" + "0a" * 32], "data": "0x" + "00" * 320}
    places = {"blockNumber": "0x7", "blockHash": word(7), "logIndex": hex(place)}
    return json.dumps({"params": {"subscription": "logs", "result": {**words, **places}}}).encode()


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT, *, fin: bool = True) -> bytes:
    return bytes(Frame(opcode, payload, fin).serialize(mask=False))


class Node:
    """Answers what a subscription asks; a test writes the bytes that come after that."""

    def __init__(self) -> None:
        self.url = ""
        self.sockets: list[ServerConnection] = []

    async def converse(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        results = {"newHeads": "heads", "logs": "logs"}
        with suppress(ConnectionClosed):
            async for text in socket:
                asked = json.loads(text)
                result = results[asked["params"][0]] if asked["params"] else "0x1"
                await socket.send(json.dumps({"id": asked["id"], "result": result}))

    def write(self, *frames: bytes) -> None:
        self.sockets[-1].transport.write(b"".join(frames))


@asynccontextmanager
async def node(certificate: ssl.SSLContext | None = None) -> AsyncIterator[Node]:
    it = Node()
    async with serve(it.converse, "127.0.0.1", 0, ssl=certificate, close_timeout=0.1) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        it.url = f"wss://localhost:{port}" if certificate else f"ws://127.0.0.1:{port}"
        yield it


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[tuple[Subscription, AsyncGenerator[Event, None]]]:
    heads = Subscription([url], chain_id=1, silence=None, timeout=20.0, first_rest=0.05)
    heads.watch(QUERY)
    async with asyncio.timeout(SECONDS), aclosing(heads.listen()) as told:
        yield heads, told


async def until(told: AsyncGenerator[Event, None], kind: type[Event]) -> Any:  # noqa: ANN401
    while not isinstance(event := await anext(told), kind):
        pass
    return event


async def places_of(told: AsyncGenerator[Event, None], count: int) -> list[int]:
    places: list[int] = []
    while len(places) < count:
        places += [log.log_index for log in (await until(told, NewLogs)).logs]
    return places


async def test_a_message_in_fragments_is_joined_whatever_comes_between() -> None:
    announced = head(9)
    async with node() as it, listening(it.url) as (_, told):
        await until(told, Connected)
        it.write(
            frame(head(8)),
            frame(announced[:40], fin=False),
            frame(b"are you there?", Opcode.PING),
            frame(announced[40:50], Opcode.CONT, fin=False),
            frame(announced[50:], Opcode.CONT),
            frame(head(10)),
        )
        numbers = [(await until(told, NewHead)).block.number for _ in range(3)]
    assert numbers == [8, 9, 10]


async def test_bytes_that_come_one_by_one_are_understood() -> None:
    async with node() as it, listening(it.url) as (_, told):
        await until(told, Connected)
        for byte in frame(head(8)):
            it.write(bytes((byte,)))
            await asyncio.sleep(0.001)
        assert (await until(told, NewHead)).block.number == 8


RUBBISH = {
    "no frame": b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    "a masked frame": bytes(Frame(Opcode.TEXT, head(9)).serialize(mask=True)),
    "a text within another": frame(b"{", fin=False) + frame(head(9)),
    "an end without a beginning": frame(head(9), Opcode.CONT),
    "a compressed text": bytes((0xC1,)) + frame(head(9))[1:],
    "too much in fragments": frame(b" " * 90_000, fin=False) + frame(b" " * 90_000, Opcode.CONT),
    "a farewell of its own": frame((1013).to_bytes(2) + b"come back later", Opcode.CLOSE),
    "no JSON": frame(b"\xff\xfe"),
}
WHY = {
    "no frame": "1002",
    "a masked frame": "incorrect masking",
    "a text within another": "expected a continuation frame",
    "an end without a beginning": "unexpected continuation frame",
    "a compressed text": "1002",
    "too much in fragments": "1009",
    "a farewell of its own": "received 1013 (try again later) come back later",
    "no JSON": "unusable answer",
}


@pytest.mark.parametrize("what", RUBBISH)
async def test_what_came_before_rubbish_counts_and_the_node_is_called_again(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chimera.rpc.websocket.MAX_MESSAGE", 100_000)
    async with node() as it, listening(it.url) as (heads, told):
        await until(told, Connected)
        it.write(frame(head(8)), RUBBISH[what], frame(head(9)))
        assert (await until(told, NewHead)).block.number == 8
        assert await anext(told) == Disconnected()
        assert WHY[what] in heads.sources[0].breaker.why
        await until(told, Connected)
        it.write(frame(head(10)))
        assert (await until(told, NewHead)).block.number == 10


async def test_a_flood_waits_in_the_node_and_comes_whole() -> None:
    sent = 0

    async def pour(it: Node) -> None:
        nonlocal sent
        for place in range(FLOOD):
            it.write(frame(log(place)))
            await it.sockets[-1].drain()
            sent += 1

    async with node() as it, listening(it.url) as (_, told):
        await until(told, Connected)
        it.write(frame(head(7)))
        await until(told, NewHead)
        pouring = asyncio.create_task(pour(it))
        stood = -1
        while stood < sent:  # as long as anything moves, while nobody listens
            stood = sent
            await asyncio.sleep(0.5)
        assert sent < FLOOD
        places = await places_of(told, FLOOD)
        await pouring
    assert places == list(range(FLOOD))


async def test_an_opening_that_is_refused_says_by_what() -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, listening(f"ws://127.0.0.1:{port}") as (heads, told):
        assert await anext(told) == Disconnected()
        assert "429" in heads.sources[0].breaker.why


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a certificate for localhost, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    made = folder / "localhost.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *names, "-keyout", folder / "key", "-out", made],
        check=True,
        capture_output=True,
    )
    with made.open("a") as file:
        file.write((folder / "key").read_text())
    return made


@pytest.mark.parametrize(
    ("trust", "host", "why"),
    [
        ("SSL_CERT_FILE", "localhost", ""),
        ("NO_TRUST", "localhost", "CERTIFICATE_VERIFY_FAILED"),
        ("SSL_CERT_FILE", "127.0.0.1", "IP address mismatch"),
    ],
    ids=["right", "nobody vouches for it", "another name"],
)
async def test_a_certificate_is_checked(
    trust: str, host: str, why: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(trust, str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with (
        node(context) as it,
        listening(it.url.replace("localhost", host)) as (heads, told),
    ):
        if why:
            assert await anext(told) == Disconnected()
            assert why in heads.sources[0].breaker.why
            assert it.sockets == []
        else:
            await until(told, Connected)
            it.write(*(frame(log(place)) for place in range(3_000)))  # some pauses of reading
            assert await places_of(told, 3_000) == list(range(3_000))
