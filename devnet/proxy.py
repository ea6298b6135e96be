"""A proxy in front of a node that counts what is asked, and can be cut like a cable."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import ClientError, ClientSession, TCPConnector, WSMsgType, web

from devnet.endings import deafen, finish
from devnet.ports import port_for

T = TypeVar("T")
HOST = "127.0.0.1"
PATIENCE = 30.0
Intercept = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it passed. `text` is its parameters as lower-case JSON."""

    method: str
    text: str


class CountingProxy:
    """
    JSON-RPC over HTTP and WebSocket on one port, as the node itself has it.

    It works in a thread of its own, so that tests with and without an event loop can use it. Each
    member of a JSON-RPC batch counts as a request.

    Args:
        target: HTTP URL of the node.
        intercept: Sees every request object first; what it returns is answered in the node's
            place (without `id` and `jsonrpc`), None lets the request pass, and with it the others
            of its batch. HTTP only.

    Attributes:
        counts: Requests so far, by method.
        requests: The requests themselves, in order.
        most_at_once: HTTP bodies that were under way at the same time, at most.
        delay: Seconds that every HTTP answer is held back.
    """

    def __init__(self, target: str, *, intercept: Intercept | None = None) -> None:
        self._target = target
        self._intercept = intercept
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="counting-proxy")
        self._port = port_for(self)  # which a cut must not lose to others
        self.counts: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.most_at_once = self._at_once = 0
        self.delay = 0.0

    @property
    def http(self) -> str:
        """The proxy's address for requests."""
        return f"http://{HOST}:{self._port}"

    @property
    def ws(self) -> str:
        """The proxy's address for subscriptions."""
        return f"ws://{HOST}:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._do(self._close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def reset(self) -> None:
        """Forget what has been counted."""
        self.counts.clear()
        self.requests.clear()
        self.most_at_once = 0

    def per_account_requests(self, users: Iterable[str]) -> int:
        """
        Count the requests that ask about single users.

        A request does if one of these addresses stands anywhere in its parameters: as a parameter,
        in the data of an `eth_call`, or in a call inside a Multicall3 aggregate.
        """
        return len(self.requests_naming(users))

    def requests_naming(self, users: Iterable[str]) -> list[Request]:
        """Return the requests in whose parameters one of these addresses stands."""
        names = [user.lower().removeprefix("0x") for user in users]
        return [r for r in list(self.requests) if any(name in r.text for name in names)]

    def cut(self) -> None:
        """Drop every connection and refuse new ones."""
        self._do(self._cut())

    def restore(self) -> None:
        """Listen again, on the same port."""
        self._do(self._listen())

    # -- in the thread ---------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _open(self) -> None:
        self._session = ClientSession(connector=TCPConnector(limit=0))
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        if self._runner.server is None:
            raise RuntimeError("aiohttp has set no server up")
        self._door = self._runner.server
        await self._listen()

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(self._door, HOST, self._port)

    async def _cut(self) -> None:
        await deafen(self._server)
        for connection in self._door.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def _close(self) -> None:
        await self._cut()
        await self._runner.cleanup()
        await self._session.close()
        await finish()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._pass_socket(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            try:
                return await self._pass_request(request)
            finally:
                self._at_once -= 1
        except ClientError as error:
            raise web.HTTPBadGateway(text=str(error)) from error

    async def _pass_request(self, request: web.Request) -> web.Response:
        body = await request.read()
        document = json.loads(body)
        self._count(document)
        await asyncio.sleep(self.delay)
        own = self._own_answer(document)
        if own is not None:
            return web.json_response(own)
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._target, data=body, headers=headers) as answer:
            content = await answer.read()
            kind = answer.content_type
            return web.Response(body=content, status=answer.status, content_type=kind)

    async def _pass_socket(self, request: web.Request) -> web.WebSocketResponse:
        near = web.WebSocketResponse(max_msg_size=0)
        await near.prepare(request)
        url = self._target.replace("http", "ws", 1)
        async with self._session.ws_connect(url, max_msg_size=0) as far:
            both = [
                asyncio.create_task(self._pump(near, far, count=True)),
                asyncio.create_task(self._pump(far, near, count=False)),
            ]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for pump in both:
                pump.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        await near.close()
        return near

    async def _pump(self, source: Any, sink: Any, *, count: bool) -> None:  # noqa: ANN401
        async for message in source:
            if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                continue
            if count:
                self._count(json.loads(message.data))
            if message.type == WSMsgType.TEXT:
                await sink.send_str(message.data)
            else:
                await sink.send_bytes(message.data)

    def _count(self, document: Any) -> None:  # noqa: ANN401 - JSON
        for one in document if isinstance(document, list) else [document]:
            method = str(one.get("method"))
            self.counts[method] += 1
            self.requests.append(Request(method, json.dumps(one.get("params")).lower()))

    def _own_answer(self, document: Any) -> Any:  # noqa: ANN401 - JSON
        if self._intercept is None:
            return None
        if isinstance(document, list):
            answers = [self._own_answer(one) for one in document]
            return answers if all(answer is not None for answer in answers) else None
        answer = self._intercept(document)
        return answer and {"jsonrpc": "2.0", "id": document.get("id"), **answer}
