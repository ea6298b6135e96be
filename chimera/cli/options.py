"""The options that commands share, and what each command begins with."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO, cast

import typer

from chimera.cli.application import load_settings
from chimera.cli.client import DaemonClient, NoDaemon, daemon_url
from chimera.cli.filters import a_decimal, an_address
from chimera.cli.progress import CurrentStderr
from chimera.domain.market import instance_of
from chimera.errors import Refuse
from chimera.observability.logging import configure

if TYPE_CHECKING:
    from chimera.settings import Settings

USUAL_ITEMS = 50


class EpisodeState(StrEnum):
    """Whether an account is still under 1."""

    OPEN = "open"
    CLOSED = "closed"


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration in TOML; default $CHIMERA_CONFIG, else the shipped base.toml.",
        show_default=False,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Where the daemon is asked; default http.listen of the configuration.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
ProtocolName = Annotated[
    str | None, typer.Option("--protocol", metavar="NAME", help="Only of this protocol.")
]
UserAddress = Annotated[
    str | None,
    typer.Option("--user", metavar="0x...", help="Only of this account.", callback=an_address),
]
AssetAddress = Annotated[
    str | None,
    typer.Option(
        "--asset", metavar="0x...", help="Only with this token on a side.", callback=an_address
    ),
]
MaxHealthFactor = Annotated[
    str | None,
    typer.Option(
        "--max-health-factor", metavar="DECIMAL", help="This or lower.", callback=a_decimal
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]
State = Annotated[EpisodeState | None, typer.Option("--state", help="Only these.")]


def begin(config: Path | None, *, quiet: bool = False) -> Settings:
    """
    Load the configuration and begin to log as it says; `quiet` leaves to debugging what is minor.

    Raises:
        Refuse: The configuration is wrong.
    """
    settings = load_settings(config)
    level = settings.log.level
    configure("error" if quiet and level != "debug" else level, cast("TextIO", CurrentStderr()))
    return settings


def daemon(settings: Settings, url: str | None) -> DaemonClient:
    """
    Return a client of the daemon that the operator means.

    Raises:
        NoDaemon: The configuration does not tell where it listens, nor does `--url`.
        Refuse: `--url` is not a URL.
    """
    chosen = url or daemon_url(settings.http.listen)
    if chosen is None:
        listen = settings.http.listen
        raise NoDaemon(f'no daemon can be asked: http.listen is "{listen}"; give its --url')
    return DaemonClient(chosen)


def refuse_unknown(
    settings: Settings,
    protocol: str | None,
    place: str = "--protocol",
    *,
    published: bool = False,
) -> None:
    """
    Tell a mistyped name from one that has nothing.

    Args:
        settings: Where the names stand.
        protocol: What was typed, None for nothing.
        place: Where it was typed.
        published: Whether a market may follow the name, as in what is published.

    Raises:
        Refuse: The configuration has no such protocol.
    """
    names = [its.name for its in settings.protocols]
    if protocol is not None and (instance_of(protocol) if published else protocol) not in names:
        raise Refuse(f"{place}: expected one of {', '.join(names)}, found {protocol!r}")
