"""`chimera record` and `chimera replay`: what came in, to a file and from it again."""

from __future__ import annotations

import asyncio
import json
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, cast

import typer

from chimera.cli.application import application
from chimera.cli.exits import complain, ending
from chimera.cli.options import Config, begin
from chimera.cli.progress import CurrentStderr, Reporter
from chimera.errors import Refuse
from chimera.observability.logging import configure

if TYPE_CHECKING:
    from collections.abc import Mapping

MEBIBYTE = 1 << 20
FILES = 4  # of full size, that there is room for at least: two are written at once now and then

File = Annotated[Path, typer.Argument(metavar="FILE", help="As `chimera record` wrote it.")]


def _speed(text: str) -> Decimal | None:
    """Read how many times as fast as it was; None is as fast as possible."""
    if text == "max":
        return None
    try:
        speed = Decimal(text)
    except InvalidOperation:
        speed = Decimal(0)
    if not speed.is_finite() or speed <= 0:
        raise Refuse(f'--speed: expected a number over 0, or "max", found {text!r}')
    return speed


def record(
    config: Config = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the files go; it is made.")
    ] = Path("recordings"),
    size: Annotated[
        int, typer.Option("--size", metavar="MIB", min=1, help="Of one file, about.")
    ] = 64,
    keep: Annotated[
        int, typer.Option("--keep", metavar="MIB", min=4, help="Of all; the oldest go first.")
    ] = 1024,
) -> None:
    """Run the daemon, and write what comes in from the chain to files that can be replayed."""
    with ending(), Reporter() as progress:
        settings = begin(config)
        if keep < FILES * size:
            raise Refuse(f"--keep: expected {FILES * size} or more, {FILES} times --size")
        work = application().record(
            settings, out, size=size * MEBIBYTE, keep=keep * MEBIBYTE, progress=progress
        )
        asyncio.run(work)


def replay(
    file: File,
    config: Config = None,
    speed: Annotated[
        str,
        typer.Option("--speed", metavar="N|max", help="How many times as fast as it was."),
    ] = "max",
    *,
    heard: Annotated[
        bool, typer.Option("--heard", help="Print also what the subscription said.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False,
) -> None:
    """Feed a recording in again, without a node: print every flag, and what came of it."""
    with ending():
        configure("error", cast("TextIO", CurrentStderr()))
        if config is not None:
            complain("a recording brings its own configuration; --config is not used")
        asyncio.run(_print(file, _speed(speed), heard=heard, as_json=as_json))


async def _print(file: Path, speed: Decimal | None, *, heard: bool, as_json: bool) -> None:
    async for document in application().replay(file, speed=speed, heard=heard):
        line = json.dumps(document) if as_json else _line(document)
        sys.stdout.write(f"{line}\n")
        if speed is not None:
            sys.stdout.flush()


def _line(document: Mapping[str, Any]) -> str:
    match document["event"]:
        case "end":
            return _outcome(document)
        case "heard":
            return f"heard {json.dumps(document['what'])}"
        case event:
            return _flag(document["block"], event, document["flag"])


def _flag(block: int, event: str, flag: Mapping[str, Any]) -> str:
    words = [f"block {block}", event, flag["id"], flag["protocol"], flag["user"]]
    words.append(f"health factor {flag['health_factor']},")
    words.append(f"{flag['blocks_unhealthy']} blocks since {flag['first_unhealthy_block']}")
    if flag["closed_reason"] is not None:
        words.append(f"({flag['closed_reason']})")
    elif flag["reason"] is not None:
        words.append(f"(not liquidatable: {flag['reason']})")
    return " ".join(words)


def _outcome(end: Mapping[str, Any]) -> str:
    misfit = "" if end["misfit"] is None else f" ({end['misfit']})"
    return (
        f"replayed {end['blocks']} blocks after {end['first_block']}, up to {end['last_block']},"
        f" {end['rollbacks']} rollbacks: {end['flagged']} flagged, {end['closed']} closed,"
        f" {end['open']} open; the recording ends: {end['ended']}{misfit};"
        f" state {end['digest']}"
    )
