"""What answers which request. Every handler reads memory and awaits nothing slow but a rebuild."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated

import msgspec
from eth_utils.address import to_checksum_address
from fastapi import APIRouter, Body, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from chimera.api.auth import operator_only
from chimera.api.failures import Failure, bad_parameter
from chimera.api.parameters import AddressText
from chimera.api.schemas import (
    Explanation,
    OpportunitiesAsked,
    OpportunitiesPage,
    PositionsAsked,
    PositionsPage,
    Readiness,
    RebuildAsked,
    Rebuilt,
    failures,
)
from chimera.domain.block import Address
from chimera.domain.health import VERDICT
from chimera.domain.opportunity import Opportunity
from chimera.domain.position import Position
from chimera.domain.standing import Standing
from chimera.observability.metrics import CONTENT_TYPE
from chimera.ports import Operator, Opportunities, Positions
from chimera.service import Turn

ProtocolInPath = Annotated[str, Path(min_length=1, max_length=128)]
UserInPath = Annotated[AddressText, Path()]


async def once_each(request: Request) -> None:
    """Refuse a parameter that is given twice: only one of them could count."""
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if times > 1:
            raise bad_parameter(name, f"given {times} times, expected once")


async def no_query(request: Request) -> None:
    """Refuse parameters where there are none."""
    for name in request.query_params:
        raise bad_parameter(name, "there is no such parameter")


def daemon_router(operator: Operator, metrics_text: Callable[[], bytes]) -> APIRouter:
    """Serve liveness, readiness, metrics and the operator's request for a rebuild."""
    router = APIRouter()
    running = asyncio.Lock()

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Answer while the process works."""
        return {"status": "ok"}

    @router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
    async def readyz() -> Response:
        """Tell whether positions reflect the newest head."""
        status = operator.status()
        code = HTTPStatus.OK if status.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse(Readiness.of(status).model_dump(), status_code=code)

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return all metrics in the text format of Prometheus."""
        return Response(metrics_text(), media_type=CONTENT_TYPE)

    @router.post(
        "/v1/rebuild",
        response_model=Rebuilt,
        responses=failures(403, 409, 422, 503),
        dependencies=[Depends(operator_only), Depends(no_query)],
    )
    async def rebuild(asked: Annotated[RebuildAsked | None, Body()] = None) -> Response:
        """Read the book anew from the chain and publish it again; only from this machine."""
        if running.locked():
            raise Failure(HTTPStatus.CONFLICT, "busy", "a rebuild is already running")
        wanted = asked or RebuildAsked()
        _refuse_unknown(operator, wanted.protocol)
        async with running:
            report = await operator.rebuild(protocol=wanted.protocol, from_block=wanted.from_block)
        return JSONResponse(asdict(report))

    return router


def positions_router(positions: Positions, confirmation_blocks: int) -> APIRouter:
    """Serve accounts: a listing, one of them, and why it stands where it stands."""
    router = APIRouter(prefix="/v1/positions", responses=failures(422))

    @router.get(
        "",
        response_model=PositionsPage,
        responses=failures(410),
        dependencies=[Depends(once_each)],
    )
    async def listing(asked: Annotated[PositionsAsked, Query()]) -> Response:
        """List accounts, lowest health factor first, those without debt last."""
        block, items, cursor = await positions.page(
            protocol=asked.protocol,
            user=asked.user,
            asset=asked.asset,
            max_health_factor=asked.max_health_factor,
            limit=asked.limit,
            cursor=asked.cursor,
        )
        return await _page(block, items, cursor)

    @router.get(
        "/{protocol}/{user}",
        response_model=Position,
        responses=failures(404),
        dependencies=[Depends(no_query)],
    )
    async def one(protocol: ProtocolInPath, user: UserInPath) -> Response:
        """Return one account."""
        return JSONResponse(_found(positions, protocol, user).document())

    @router.get(
        "/{protocol}/{user}/why",
        response_model=Explanation,
        responses=failures(404),
        dependencies=[Depends(no_query)],
    )
    async def why(protocol: ProtocolInPath, user: UserInPath) -> Response:
        """Explain one account: every input, every step, and the rule that decides."""
        position = _found(positions, protocol, user)
        steps = positions.explain(protocol, user) or []
        standing = Standing(
            health_factor=position.health_factor,
            error=position.error,
            blocks_unhealthy=position.blocks_unhealthy,
            confirmation_blocks=confirmation_blocks,
            contract=next((step.value for step in steps if step.name == VERDICT), None),
        )
        explanation = Explanation(
            protocol=position.protocol,
            user=position.user,
            block=position.block,
            health_factor=position.health_factor,
            steps=[step for step in steps if step.name != VERDICT],
            verdict=standing.sentence(),
        )
        return JSONResponse(explanation.model_dump())

    return router


def opportunities_router(opportunities: Opportunities) -> APIRouter:
    """Serve episodes under 1."""
    router = APIRouter(prefix="/v1/opportunities", responses=failures(422))

    @router.get(
        "",
        response_model=OpportunitiesPage,
        responses=failures(410),
        dependencies=[Depends(once_each)],
    )
    async def listing(asked: Annotated[OpportunitiesAsked, Query()]) -> Response:
        """List episodes, newest first."""
        block, items, cursor = opportunities.page(
            state=asked.state, protocol=asked.protocol, limit=asked.limit, cursor=asked.cursor
        )
        return await _page(block, items, cursor)

    return router


def _refuse_unknown(operator: Operator, protocol: str | None) -> None:
    followed = operator.status().protocols
    if protocol is not None and followed and protocol not in followed:
        raise bad_parameter("protocol", f"expected one of {', '.join(followed)}")


def _found(positions: Positions, protocol: str, user: Address) -> Position:
    position = positions.position(protocol, user)
    if position is None:
        message = f"{protocol} has no account of {to_checksum_address(user)}"
        raise Failure(HTTPStatus.NOT_FOUND, "not_found", message)
    return position


async def _page(
    block: int, items: Sequence[Position] | Sequence[Opportunity], cursor: str | None
) -> Response:
    documents, turn = [], Turn()
    for item in items:
        documents.append(msgspec.json.encode(item))
        await turn.give_way()
    head, tail = msgspec.json.encode(block), msgspec.json.encode(cursor)
    body = b'{"block":%b,"items":[%b],"next_cursor":%b}' % (head, b",".join(documents), tail)
    return Response(body, media_type="application/json")
