"""The cables that misbehave leave nothing behind: no socket, no stream, no task."""

from __future__ import annotations

import gc
import logging
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from devnet.chaos_proxy import ChaosProxy
from devnet.ports import free_port
from devnet.proxy import CountingProxy

HOST = "127.0.0.1"
SECONDS = 30.0  # of patience with a slow machine
TIMES = 4  # some leaks show only now and then
CLIENTS = 4
RESET = struct.pack("ii", 1, 0)
ASKED = b'{"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber"}'
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(ASKED), ASKED)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What the garbage collector and asyncio complain about, in whatever thread."""
    found: list[str] = []

    def hear(unraisable: Any) -> None:  # noqa: ANN401  (sys.UnraisableHookArgs is no class)
        found.append(f"{unraisable.exc_value!r} in {unraisable.object!r}")

    gc.collect()
    monkeypatch.setattr(sys, "unraisablehook", hear)
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        yield found
        gc.collect()
        found += [record.getMessage() for record in caplog.records]
    assert found == []


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says everything back."""
    with socket.create_server((HOST, 0)) as server:
        thread = threading.Thread(target=_serve, args=(server,))
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve(server: socket.socket) -> None:
    talks = []
    with suppress(OSError):  # the listener is shut down
        while True:
            talk = threading.Thread(target=_say_back, args=(server.accept()[0],))
            talk.start()
            talks.append(talk)
    for talk in talks:
        talk.join()


def _say_back(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        while piece := connection.recv(65_536):
            connection.sendall(piece)


@contextmanager
def clients(proxy: ChaosProxy, *, spoken: bool = True) -> Iterator[list[socket.socket]]:
    """Connect some; those who have spoken are known to have reached the server."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(socket.create_connection((HOST, proxy.port), timeout=SECONDS))
            for _ in range(CLIENTS)
        ]
        for one in made if spoken else []:
            one.sendall(b"hello")
            assert one.recv(5) == b"hello"
        yield made


def gone(connection: socket.socket) -> None:
    """Expect the end of a connection, however it comes."""
    with suppress(ConnectionError):
        assert connection.recv(65_536) == b""


def ended_while_connected(proxy: ChaosProxy) -> None:
    with clients(proxy):
        proxy.__exit__(None, None, None)


def ended_while_connecting(proxy: ChaosProxy) -> None:
    with clients(proxy, spoken=False):
        proxy.__exit__(None, None, None)


def cut_and_restored(proxy: ChaosProxy) -> None:
    with clients(proxy) as made:
        proxy.cut()
        for one in made:
            gone(one)
    proxy.restore()
    with clients(proxy):
        pass


def severed_while_connecting(proxy: ChaosProxy) -> None:
    with clients(proxy, spoken=False) as made:
        proxy.sever()
        made[0].close()


def refused(proxy: ChaosProxy) -> None:
    with clients(proxy) as made:
        proxy.refuse()
        with pytest.raises(ConnectionError):
            socket.create_connection((HOST, proxy.port), timeout=SECONDS)
        made[0].sendall(b"still")
        assert made[0].recv(5) == b"still"


def half_closed(proxy: ChaosProxy) -> None:
    with clients(proxy) as made:
        proxy.half_close()
        for one in made:
            one.sendall(b"unheard")
            assert one.recv(1) == b""


def led_nowhere(proxy: ChaosProxy) -> None:
    proxy.retarget(free_port())
    for _ in range(CLIENTS):
        with suppress(ConnectionError), clients(proxy, spoken=False):
            pass


def reset_by_clients(proxy: ChaosProxy) -> None:
    with clients(proxy) as made:
        for one in made:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def full_of_unread_bytes(proxy: ChaosProxy) -> None:
    with clients(proxy) as made:
        for one in made:
            one.setblocking(False)  # noqa: FBT003
            with suppress(BlockingIOError):
                while True:
                    one.send(bytes(65_536))
        proxy.sever()


LIVES: list[Callable[[ChaosProxy], None]] = [
    ended_while_connected,
    ended_while_connecting,
    cut_and_restored,
    severed_while_connecting,
    refused,
    half_closed,
    led_nowhere,
    reset_by_clients,
    full_of_unread_bytes,
]


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
def test_a_cable_leaves_nothing_behind(
    life: Callable[[ChaosProxy], None], echo: int, left: list[str]
) -> None:
    for _ in range(TIMES):
        proxy = ChaosProxy(echo)
        proxy.__enter__()
        try:
            life(proxy)
        finally:
            if proxy._thread.is_alive():
                proxy.__exit__(None, None, None)
        del proxy
        gc.collect()
        assert left == []


@pytest.mark.parametrize("restored", [False, True])
def test_a_counting_proxy_leaves_nothing_behind(restored: bool, left: list[str]) -> None:  # noqa: FBT001
    for _ in range(TIMES):
        with CountingProxy("http://nowhere", intercept=lambda _asked: {"result": "0x1"}) as proxy:
            with ExitStack() as stack:
                address = HOST, urlsplit(proxy.http).port
                for _ in range(CLIENTS):
                    one = stack.enter_context(socket.create_connection(address, timeout=SECONDS))
                    one.sendall(REQUEST)
                assert b"0x1" in one.recv(65_536)
                stack.enter_context(socket.create_connection(address, timeout=SECONDS))
                proxy.delay = 0.01
                one.sendall(REQUEST)
                proxy.cut()
            if restored:
                proxy.restore()
        del proxy
        gc.collect()
        assert left == []
