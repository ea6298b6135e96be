"""A composition root and a wire to a daemon, for the command line without sockets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog
from starlette.types import ASGIApp

from chimera.app.borrowers import Exported, Imported
from chimera.domain.block import Address
from chimera.domain.notices import RebuildReport
from chimera.domain.position import Position
from chimera.observability.logging import NARRATORS
from chimera.settings import Settings
from tests.fakes_api import Client

CONFIG = """
[chain]
id = 8453
name = "base"
block_time = 2.0

[rpc]
ws = ["ws://127.0.0.1:8545"]
http = ["http://127.0.0.1:8545"]

[redis]
url = "redis://127.0.0.1:6379/0"

[http]
listen = "127.0.0.1:9650"

[[protocols]]
name = "aave"
kind = "aave_v3"
address = "0xe20fCBdBfFC4Dd138cE8b2E6FBb6CB49777ad64D"
from_block = 2357134
"""


DONE = RebuildReport(accounts=7, mismatches=0, milliseconds=1250)


@dataclass(frozen=True)
class Row:
    subject: str
    fact: str
    ok: bool
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class FakeApplication:
    """Stands where `chimera.app` stands; remembers what it was asked."""

    published: list[Position] = field(default_factory=list)
    unread: int = 0
    explanation: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    report: RebuildReport = DONE
    error: BaseException | None = None
    asked: list[Any] = field(default_factory=list)

    async def run(self, settings: Settings, progress: Any = None) -> None:  # noqa: ANN401
        self._note("run", settings.chain.name)
        progress("accounts", 1, 1)

    async def rebuild(self, _settings: Settings, **asked: Any) -> RebuildReport:  # noqa: ANN401
        asked.pop("progress")("accounts", 7, 7)
        self._note("rebuild", asked)
        return self.report

    async def explain(self, _settings: Settings, protocol: str, user: Address) -> dict[str, Any]:
        self._note("explain", (protocol, user))
        return self.explanation

    async def check(self, _settings: Settings) -> list[Row]:
        self._note("check", None)
        return self.rows

    async def export_borrowers(
        self, _settings: Settings, path: Path, *, protocol: str | None = None
    ) -> list[Exported]:
        self._note("export_borrowers", (path, protocol))
        return [Exported("aave", 7, 900), Exported("other", 0, None)]

    async def import_borrowers(
        self, _settings: Settings, path: Path, *, protocol: str | None = None
    ) -> list[Imported]:
        self._note("import_borrowers", (path, protocol))
        return [
            Imported("aave", 7, 3, 900, None),
            Imported("other", 2, 2, None, "its search does not count"),
        ]

    async def cached_positions(
        self,
        _settings: Settings,
        **beginning: Any,  # noqa: ANN401
    ) -> tuple[list[Position], int]:
        self._note("cached_positions", beginning)
        return self.published, self.unread

    def _note(self, name: str, what: object) -> None:
        self.asked.append((name, what))
        if self.error is not None:
            raise self.error


@dataclass
class Wire:
    """Makes connections that end in an application, in fixed bytes, or nowhere."""

    app: ASGIApp | None = None
    fixed: tuple[int, bytes] | None = None
    breaks: Exception | None = None
    asked: list[tuple[str, int | None, str, str]] = field(default_factory=list)

    def connection(self, host: str, port: int | None, timeout: float) -> FakeConnection:
        assert timeout > 0
        return FakeConnection(self, host, port)


class FakeConnection:
    def __init__(self, wire: Wire, host: str, port: int | None) -> None:
        self._wire, self._place = wire, (host, port)
        self.sock = SimpleNamespace(settimeout=lambda _: None)
        self._answer: tuple[int, bytes] = (0, b"")

    def connect(self) -> None:
        if self._wire.app is None and self._wire.fixed is None and self._wire.breaks is None:
            raise ConnectionRefusedError(111, "Connection refused")

    def request(
        self, method: str, target: str, body: str | None, headers: Mapping[str, str]
    ) -> None:
        path, _, query = target.partition("?")
        self._wire.asked.append((*self._place, method, target))
        if self._wire.breaks is not None:
            raise self._wire.breaks
        if self._wire.fixed is not None:
            self._answer = self._wire.fixed
            return
        assert self._wire.app is not None
        call = Client(self._wire.app).call(
            method, path, query=query, body=(body or "").encode(), headers=_lower(headers)
        )
        answer = asyncio.run(call)
        self._answer = (answer.status, answer.body)

    def getresponse(self) -> SimpleNamespace:
        status, body = self._answer
        return SimpleNamespace(status=status, read=io.BytesIO(body).read)

    def close(self) -> None:
        pass


def document(text: str) -> Any:  # noqa: ANN401  (any document)
    """Parse stdout, which has to be one JSON document and nothing else."""
    return json.loads(text)


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Undo what configuring the log stream does to the process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in NARRATORS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
