"""`chimera borrowers`: the list of who ever borrowed, to another machine and back."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chimera.cli.application import application
from chimera.cli.exits import ending
from chimera.cli.options import AsJson, Config, ProtocolName, begin, refuse_unknown
from chimera.cli.views import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chimera.cli.application import Exported, Imported

app = typer.Typer(no_args_is_help=True)

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="JSON lines; compressed if it ends in .gz.")
]


@app.callback()
def borrowers() -> None:
    """Carry the list of who ever borrowed to another machine, which then need not search."""


@app.command("export")
def export_file(
    file: File,
    *,
    config: Config = None,
    protocol: ProtocolName = None,
    as_json: AsJson = False,
) -> None:
    """Write everybody who is known to FILE. A daemon may run meanwhile."""
    with ending():
        settings = begin(config, quiet=True)
        refuse_unknown(settings, protocol)
        work = application().export_borrowers(settings, file, protocol=protocol)
        exported: Sequence[Exported] = asyncio.run(work)
        if as_json:
            print_json({"file": str(file), "protocols": [document(its) for its in exported]})
            return
        for its in exported:
            searched = "no search has begun"
            if its.searched_to is not None:
                searched = f"searched up to block {its.searched_to}"
            typer.echo(f"{its.protocol}: {its.users} accounts, {searched}")


@app.command("import")
def import_file(
    file: File,
    *,
    config: Config = None,
    protocol: ProtocolName = None,
    as_json: AsJson = False,
) -> None:
    """Take over everybody in FILE, while no daemon works with the history."""
    with ending():
        settings = begin(config, quiet=True)
        refuse_unknown(settings, protocol)
        work = application().import_borrowers(settings, file, protocol=protocol)
        imported: Sequence[Imported] = asyncio.run(work)
        if as_json:
            print_json({"file": str(file), "protocols": [document(its) for its in imported]})
            return
        for its in imported:
            begin_at = "from_block" if its.searched_to is None else f"block {its.searched_to}"
            typer.echo(
                f"{its.protocol}: {its.users} accounts, {its.new} of them new;"
                f" the next search goes on from {begin_at}"
            )
            if its.note is not None:
                typer.echo(f"{its.protocol}: {its.note}", err=True)


def document(what: Any) -> dict[str, Any]:  # noqa: ANN401  (a dataclass of the composition root)
    """Return what was done as JSON has it."""
    return asdict(what)
