"""The application, and the server that runs it inside the daemon's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Generator

import structlog
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chimera import __version__
from chimera.api import failures
from chimera.api.routes import daemon_router, opportunities_router, positions_router
from chimera.errors import Refuse
from chimera.ports import Operator, Opportunities, Positions
from chimera.service import Service

Observer = Callable[[str, int, float], None]
"""Told of every request: (route, status, seconds)."""

FIRST_ASKED = ("/", "/v1/positions", "/v1/opportunities")  # with a cursor that is none
GRACE = 0.5  # seconds for requests that are being answered when the daemon stops


def build_app(
    *,
    positions: Positions,
    opportunities: Opportunities,
    operator: Operator,
    metrics_text: Callable[[], bytes],
    confirmation_blocks: int = 2,
    observe: Observer | None = None,
) -> FastAPI:
    """
    Build the ASGI application over the daemon's memory.

    Args:
        positions: The book.
        opportunities: The episodes.
        operator: The daemon as a whole.
        metrics_text: Renders the body of /metrics.
        confirmation_blocks: How many blocks under 1 flag an account, for explanations.
        observe: Told of every request, for metrics.
    """
    app = FastAPI(
        title="Chimera",
        version=__version__,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    failures.install(app)
    app.include_router(daemon_router(operator, metrics_text))
    app.include_router(positions_router(positions, confirmation_blocks))
    app.include_router(opportunities_router(opportunities))
    if observe is not None:
        app.add_middleware(Observed, observe=observe)
    return app


class Observed:
    """Times every request and names it by its route, so that labels stay few."""

    def __init__(self, app: ASGIApp, observe: Observer) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it; one that nobody sent is not counted."""
        if scope["type"] != "http" or scope.get("client") is None:
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._observe(route, status, time.perf_counter() - began)


class ApiServer(Service):
    """
    Serves an application on one address until cancelled.

    Args:
        app: What answers.
        host: Name or address to bind, IPv6 without brackets.
        port: Port to bind; 0 for any free one.
    """

    def __init__(self, app: ASGIApp, *, host: str, port: int) -> None:
        super().__init__()
        self._app = app
        self._host, self._wanted = host, port
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """Return the port that is bound; the wanted one before that."""
        return self._wanted if self._socket is None else int(self._socket.getsockname()[1])

    async def start(self, group: asyncio.TaskGroup) -> None:
        """
        Bind the address, then serve.

        Raises:
            Refuse: The address is taken, or not one of this machine.
        """
        self._socket = _bound(self._host, self._wanted)
        with contextlib.ExitStack() as unless_served:
            unless_served.enter_context(self._socket)
            await super().start(group)
            unless_served.pop_all()

    async def run(self) -> None:
        """Serve until cancelled, then let go of the address within a second."""
        if self._socket is None:
            self._socket = _bound(self._host, self._wanted)
        await _ready(self._app)
        server = _Server(_config(self._app), started=self._announce)
        serving = asyncio.create_task(server.serve(sockets=[self._socket]), name="http")
        try:
            await asyncio.shield(serving)
        finally:
            await _closed(server, serving)
            self._socket.close()

    def _announce(self) -> None:
        host = f"[{self._host}]" if ":" in self._host else self._host
        structlog.get_logger().info(
            "http_listening", address=f"{host}:{self.port}", host=self._host, port=self.port
        )
        self.ready.set()


async def _ready(app: ASGIApp) -> None:
    """
    Ask for a page that there is not, and for places of lists where there are none.

    FastAPI builds its routes when somebody asks for the first time, in 20 ms for which blocks would
    wait, and what a list is asked by in another 5; before anything is followed, nobody does.
    """

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        """Heed no answer."""

    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "headers": [],
        "client": None,
    }
    for path in FIRST_ASKED:
        await app({**scope, "path": path, "query_string": b"cursor=-"}, receive, send)


class _Server(uvicorn.Server):
    """A server that leaves signals to the daemon and says when it has begun."""

    def __init__(self, config: uvicorn.Config, *, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = started

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_started()


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,  # its loggers end in our stream of lines
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who asks is who is connected
    )


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refuse(f"http.listen: cannot listen on {host}:{port}: {why}") from error


async def _closed(server: _Server, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    done, _ = await asyncio.wait({serving}, timeout=GRACE)
    if not done:
        server.force_exit = True
        for request in list(server.server_state.tasks):
            request.cancel()
        done, _ = await asyncio.wait({serving}, timeout=GRACE)
    if not done:
        serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
