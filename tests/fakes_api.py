"""Ports of the HTTP interface over plain lists, and a client that calls ASGI without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from starlette.types import ASGIApp, Message

from chimera.domain.block import Address
from chimera.domain.health import Step
from chimera.domain.notices import ProtocolStatus, RebuildReport, Status
from chimera.domain.opportunity import BestPair, Opportunity
from chimera.domain.position import CollateralView, DebtView, Position
from chimera.errors import BadCursor, StaleCursor

ALICE = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # both from EIP-55
BOB = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"
WETH = "0x4200000000000000000000000000000000000006"
USDC = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
HUGE = 2**96 + 1  # no float and no 64-bit integer can hold it

SAFE = Position(
    block=120,
    protocol="aave",
    user=ALICE,
    health_factor="1.260522236673173840",
    collateral_asset=WETH,
    debt_asset=USDC,
    collateral_amount=HUGE,
    debt_amount=2**53 + 1,
    liquidation_threshold="0.83",
    last_update_block=100,
    blocks_unhealthy=0,
    collateral=(CollateralView(WETH, "WETH", HUGE, "3000.00000000", "0.83", enabled=True),),
    debt=(DebtView(USDC, "USDC", 2**53 + 1, "2000.00000000"),),
    base_currency="USD",
)
UNDER = replace(SAFE, user=BOB, health_factor="0.980000000000000000", blocks_unhealthy=3)
FLAG = Opportunity(
    id="aave-b0b-118",
    protocol="aave",
    user=BOB,
    health_factor="0.980000000000000000",
    first_unhealthy_block=118,
    flagged_block=119,
    blocks_unhealthy=3,
    state="open",
    closed_block=None,
    closed_reason=None,
    liquidatable=True,
    reason=None,
    collateral_value="3000.00000000",
    debt_value="2500.00000000",
    best=BestPair(WETH, USDC, 10**9, HUGE, "12.50000000"),
)
READY = Status(
    ready=True,
    chain_id=8453,
    head=120,
    processed_block=120,
    lag_blocks=0,
    redis="connected",
    breaker="closed",
    protocols={"aave": ProtocolStatus(accounts=2, borrowers=2, last_reconciled_block=118)},
)


@dataclass
class FakePositions:
    items: list[Position] = field(default_factory=lambda: [UNDER, SAFE])
    asked: dict[str, Any] = field(default_factory=dict)
    contract: str = "liquidatable"

    async def page(self, **asked: Any) -> tuple[int, list[Position], str | None]:  # noqa: ANN401  (any filter)
        self.asked = asked
        start = _start(asked["cursor"])
        end = start + asked["limit"]
        return 120, self.items[start:end], f"at-{end}" if end < len(self.items) else None

    def position(self, protocol: str, user: Address) -> Position | None:
        for item in self.items:
            if item.protocol == protocol and item.user.lower() == f"0x{user.hex()}":
                return item
        return None

    def explain(self, protocol: str, user: Address) -> list[Step] | None:
        if self.position(protocol, user) is None:
            return None
        return [Step("collateral", "3000.00000000 USD"), Step("verdict", self.contract)]


@dataclass
class FakeOpportunities:
    items: list[Opportunity] = field(default_factory=lambda: [FLAG])

    def page(
        self, *, state: str | None, protocol: str | None, limit: int, cursor: str | None
    ) -> tuple[int, list[Opportunity], str | None]:
        start = _start(cursor)
        found = [
            item
            for item in self.items
            if state in (None, item.state) and protocol in (None, item.protocol)
        ]
        end = start + limit
        return 120, found[start:end], f"at-{end}" if end < len(found) else None


@dataclass
class FakeOperator:
    state: Status = READY
    error: Exception | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event | None = None
    asked: list[tuple[str | None, int | None]] = field(default_factory=list)

    def status(self) -> Status:
        return self.state

    async def rebuild(self, *, protocol: str | None, from_block: int | None) -> RebuildReport:
        self.asked.append((protocol, from_block))
        self.begun.set()
        if self.may_end is not None:
            await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return RebuildReport(accounts=2, mismatches=0, milliseconds=1500)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401  (any document)
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str]:
        document = self.json
        assert list(document) == ["error"]
        assert set(document["error"]) == {"code", "message"}
        found: dict[str, str] = document["error"]
        return found


@dataclass
class Client:
    """Calls an application as a server would."""

    app: ASGIApp
    peer: str = "127.0.0.1"

    async def get(self, path: str, **query: str) -> Answer:
        return await self.call("GET", path, query=urlencode(query))

    async def post(
        self, path: str, document: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        body = b"" if document is None else json.dumps(document).encode()
        kind = {} if document is None else {"content-type": "application/json"}
        return await self.call("POST", path, body=body, headers={**kind, **(headers or {})})

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path).encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in (headers or {}).items()],
            "client": (self.peer, 40000),
            "server": ("127.0.0.1", 9650),
            "state": {},
        }
        sent: list[Message] = []
        incoming = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Message:
            return next(incoming, {"type": "http.disconnect"})

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start, *rest = sent
        names = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], names, b"".join(part.get("body", b"") for part in rest))


def _start(cursor: str | None) -> int:
    if cursor == "stale":
        raise StaleCursor
    if cursor is None:
        return 0
    if not cursor.startswith("at-"):
        raise BadCursor
    return int(cursor.removeprefix("at-"))
