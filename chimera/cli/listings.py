"""The commands that read: positions, opportunities, why, status."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chimera.cli import views
from chimera.cli.application import application
from chimera.cli.client import NoDaemon
from chimera.cli.exits import complain, ending
from chimera.cli.filters import Filters, an_address
from chimera.cli.options import (
    USUAL_ITEMS,
    AsJson,
    AssetAddress,
    Config,
    Limit,
    MaxHealthFactor,
    ProtocolName,
    State,
    Url,
    UserAddress,
    begin,
    daemon,
    refuse_unknown,
)
from chimera.domain.block import Address
from chimera.errors import Unreachable

if TYPE_CHECKING:
    from chimera.settings import Settings

Document = dict[str, Any]


def positions(
    *,
    config: Config = None,
    url: Url = None,
    protocol: ProtocolName = None,
    user: UserAddress = None,
    asset: AssetAddress = None,
    max_health_factor: MaxHealthFactor = None,
    limit: Limit = USUAL_ITEMS,
    as_json: AsJson = False,
) -> None:
    """List accounts, lowest health factor first: from the daemon, else what Redis still holds."""
    with ending():
        settings = begin(config, quiet=True)
        refuse_unknown(settings, protocol, published=True)
        filters = Filters(protocol, user, asset, max_health_factor)
        try:
            page = daemon(settings, url).listing("/v1/positions", filters.query(), limit)
        except NoDaemon as absent:
            page = _from_redis(settings, filters, limit, absent)
        (views.print_json if as_json else views.print_positions)(page)


def opportunities(
    *,
    config: Config = None,
    url: Url = None,
    state: State = None,
    protocol: ProtocolName = None,
    limit: Limit = USUAL_ITEMS,
    as_json: AsJson = False,
) -> None:
    """List episodes of accounts under 1, newest first."""
    with ending():
        settings = begin(config, quiet=True)
        refuse_unknown(settings, protocol, published=True)
        given = {"state": None if state is None else state.value, "protocol": protocol}
        filters = {name: text for name, text in given.items() if text is not None}
        page = daemon(settings, url).listing("/v1/opportunities", filters, limit)
        (views.print_json if as_json else views.print_opportunities)(page)


def why(
    protocol: Annotated[str, typer.Argument(help="Name of the protocol.", show_default=False)],
    user: Annotated[
        str, typer.Argument(help="Address of the account.", callback=an_address, show_default=False)
    ],
    config: Config = None,
    url: Url = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Explain a health factor to the last digit, and the rule that decides about the account."""
    with ending():
        settings = begin(config, quiet=True)
        refuse_unknown(settings, protocol, "PROTOCOL", published=True)
        try:
            explanation = daemon(settings, url).why(protocol, user)
        except NoDaemon as absent:
            complain(f"{absent}; reading the chain instead")
            explanation = _explained(settings, protocol, user)
        (views.print_json if as_json else views.print_why)(explanation)


def status(config: Config = None, url: Url = None, *, as_json: AsJson = False) -> None:
    """Show how far the daemon is, and whether anything is wrong with it."""
    with ending():
        settings = begin(config, quiet=True)
        answer = daemon(settings, url).status()
        (views.print_json if as_json else views.print_status)(answer)


def _from_redis(settings: Settings, filters: Filters, limit: int, absent: NoDaemon) -> Document:
    if not settings.redis.url:
        raise Unreachable(f'{absent}, and without one redis.url = "" leaves nothing to read')
    try:
        work = application().cached_positions(settings, **filters.beginning(limit))
        published, unread = asyncio.run(work)
    except* Unreachable:
        raise Unreachable(f"{absent}, nor does Redis; `chimera run` starts a daemon") from None
    complain(f"{absent}; showing what Redis holds, at most {settings.redis.ttl} s old")
    found = filters.applied(published, len(published))
    hidden = len(found) - limit
    if filters.max_health_factor is None:  # else all that it wants were read
        hidden += unread
    if hidden > 0:
        complain(f"{hidden} more are not shown; --limit shows more")
    block = max((position.block for position in published), default=None)
    items = [position.document() for position in found[:limit]]
    return {"block": block, "items": items, "next_cursor": None}


def _explained(settings: Settings, protocol: str, user: str) -> Document:
    address = Address(bytes.fromhex(user[2:]))
    return asyncio.run(application().explain(settings, protocol, address))
