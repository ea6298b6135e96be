from __future__ import annotations

import asyncio
import json
import signal
import socket
import time

import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from chimera.api import server as module
from chimera.api.server import ApiServer, Observer, build_app
from chimera.errors import Refuse
from tests.fakes_api import FakeOperator, FakeOpportunities, FakePositions


def app_of(operator: FakeOperator, observe: Observer | None = None) -> FastAPI:
    return build_app(
        positions=FakePositions(),
        opportunities=FakeOpportunities(),
        operator=operator,
        metrics_text=lambda: b"chimera_ready 1.0\n",
        observe=observe,
    )


def server_of(operator: FakeOperator, port: int = 0) -> ApiServer:
    return ApiServer(app_of(operator), host="127.0.0.1", port=port)


async def ask(port: int, request: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{request}\r\nHost: daemon\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_a_started_server_answers_on_the_port_that_it_logs() -> None:
    server = server_of(FakeOperator())
    with capture_logs() as lines:
        async with asyncio.TaskGroup() as group:
            await server.start(group)
            port = server.port
            status, body = await ask(port, "GET /readyz HTTP/1.1")
            await server.stop()

    assert status == 200
    assert json.loads(body)["processed_block"] == 120
    [line] = [line for line in lines if line["event"] == "http_listening"]
    assert line["address"] == f"127.0.0.1:{port}"


async def test_a_server_is_built_before_anybody_asks_and_only_who_asks_is_counted() -> None:
    seen: list[tuple[str, int]] = []
    app = app_of(FakeOperator(), lambda route, status, _seconds: seen.append((route, status)))
    server = ApiServer(app, host="127.0.0.1", port=0)
    async with asyncio.TaskGroup() as group:
        await server.start(group)
        built, counted = app.middleware_stack is not None, list(seen)
        await ask(server.port, "GET /healthz HTTP/1.1")
        await ask(server.port, "GET / HTTP/1.1")
        await server.stop()

    assert (built, counted) == (True, [])
    assert seen == [("/healthz", 200), ("other", 404)]


async def test_a_stopped_server_has_let_go_of_its_port() -> None:
    server = server_of(FakeOperator())
    async with asyncio.TaskGroup() as group:
        await server.start(group)
        port = server.port
        await server.stop()

    again = server_of(FakeOperator(), port)
    async with asyncio.TaskGroup() as group:
        await again.start(group)
        status, _ = await ask(port, "GET /healthz HTTP/1.1")
        await again.stop()

    assert status == 200


async def test_it_stops_after_one_grace_though_a_rebuild_is_running_and_a_client_idles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert module.GRACE <= 0.5  # of the five seconds in which the daemon has to stop
    monkeypatch.setattr(module, "GRACE", 1.5)  # the second one would be told from a slow machine
    operator = FakeOperator(may_end=asyncio.Event())
    server = server_of(operator)
    async with asyncio.TaskGroup() as group:
        await server.start(group)
        _, idle = await asyncio.open_connection("127.0.0.1", server.port)
        asking = group.create_task(_until_closed(server.port))
        await operator.begun.wait()

        began = time.perf_counter()
        await server.stop()
        took = time.perf_counter() - began

        idle.close()
        await asking

    assert 1.5 <= took < 3.0


async def _until_closed(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /v1/rebuild HTTP/1.1\r\nHost: daemon\r\nContent-Length: 0\r\n\r\n")
    await reader.read()
    writer.close()


async def test_a_port_that_is_taken_is_refused_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = server_of(FakeOperator(), port)
        async with asyncio.TaskGroup() as group:
            with pytest.raises(Refuse, match=f"http.listen: cannot listen on 127.0.0.1:{port}"):
                await server.start(group)


async def test_a_start_that_is_given_up_lets_go_of_the_port() -> None:
    class NeverReady(ApiServer):
        async def run(self) -> None:
            await asyncio.Event().wait()

    server = NeverReady(app_of(FakeOperator()), host="127.0.0.1", port=0)
    async with asyncio.TaskGroup() as group:
        starting = asyncio.create_task(server.start(group))
        await asyncio.sleep(0)
        port = server.port
        starting.cancel()
        await asyncio.wait({starting})
        await server.stop()

    socket.create_server(("127.0.0.1", port)).close()


async def test_signals_stay_with_the_daemon() -> None:
    before = signal.getsignal(signal.SIGTERM)
    server = server_of(FakeOperator())
    async with asyncio.TaskGroup() as group:
        await server.start(group)
        during = signal.getsignal(signal.SIGTERM)
        await server.stop()

    assert during == before
