"""The `chimera` application, and the commands that do something: run, rebuild, check, demo."""

from __future__ import annotations

import asyncio
import os
import runpy
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chimera import __version__
from chimera.cli import borrowers, listings, recordings, views
from chimera.cli.application import application
from chimera.cli.client import NoDaemon
from chimera.cli.exits import FAULT, complain, ending, install_last_resort
from chimera.cli.options import AsJson, Config, Url, begin, daemon, refuse_unknown
from chimera.cli.progress import Reporter
from chimera.domain.numeric import decimal_string
from chimera.errors import Refuse

if TYPE_CHECKING:
    from chimera.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[2]

app = typer.Typer(
    name="chimera",
    help="Follow lending markets block by block, and flag the accounts that can be liquidated.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line."""
    install_last_resort()
    typer.main.get_command(app)(prog_name="chimera")


def _print_version(value: bool) -> None:  # noqa: FBT001  (Typer calls it so)
    if value:
        typer.echo(f"chimera {__version__}")
        raise typer.Exit


@app.callback()
def chimera(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Follow lending markets block by block, and flag the accounts that can be liquidated."""
    del version  # its callback has printed it


@app.command()
def run(config: Config = None) -> None:
    """Run the daemon until Ctrl-C or SIGTERM."""
    with ending(), Reporter() as progress:
        settings = begin(config)
        asyncio.run(application().run(settings, progress))


@app.command()
def rebuild(
    config: Config = None,
    url: Url = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", metavar="NAME", help="Only this protocol.")
    ] = None,
    from_block: Annotated[
        int | None,
        typer.Option("--from-block", min=0, help="Search for accounts again from this block on."),
    ] = None,
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every account with the contract's own view.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read every account anew from the chain: through the daemon, else by itself."""
    with ending():
        settings = begin(config)
        refuse_unknown(settings, protocol)
        try:
            report = _asked(settings, url, protocol, from_block)
        except NoDaemon:
            report = _done_here(settings, protocol, from_block, verify=verify)
        report["seconds"] = decimal_string(report["milliseconds"], 3)
        (views.print_json if as_json else views.print_rebuilt)(report)
        if report["mismatches"]:
            raise typer.Exit(FAULT)


@app.command()
def check(config: Config = None, *, as_json: AsJson = False) -> None:
    """Prove the configuration against the chain; exit code 1 if anything does not hold."""
    with ending():
        settings = begin(config, quiet=True)
        rows = asyncio.run(application().check(settings))
        if as_json:
            facts = [views.fact(row) for row in rows]
            views.print_json({"ok": all(row.ok for row in rows), "items": facts})
        else:
            views.print_check(rows)
        if not all(row.ok for row in rows):
            raise typer.Exit(FAULT)


@app.command()
def demo(config: Config = None) -> None:
    """Follow a real protocol on a local chain and compare every account with it."""
    with ending():
        if config is not None:
            complain("the demo brings its own configuration; --config is not used")
        if not (CHECKOUT / "devnet" / "demo.py").is_file():
            raise Refuse("the demo needs Chimera's source checkout: clone it and run `make demo`")
        os.chdir(CHECKOUT)
        sys.path.insert(0, str(CHECKOUT))
        sys.argv = ["devnet.demo"]
        runpy.run_module("devnet.demo", run_name="__main__", alter_sys=True)


for listing in (listings.positions, listings.opportunities, listings.why, listings.status):
    app.command()(listing)
for command in (recordings.record, recordings.replay):
    app.command()(command)
app.add_typer(borrowers.app, name="borrowers")


def _asked(
    settings: Settings, url: str | None, protocol: str | None, from_block: int | None
) -> dict[str, Any]:
    client = daemon(settings, url)
    chain_id = client.status().get("chain_id")
    if chain_id != settings.chain.id:
        raise Refuse(
            f"the daemon at {client.url} follows chain {chain_id}, "
            f"the configuration says {settings.chain.id}"
        )
    complain(f"the daemon at {client.url} is reading its book anew")
    return client.rebuild(protocol, from_block)


def _done_here(
    settings: Settings, protocol: str | None, from_block: int | None, *, verify: bool
) -> dict[str, Any]:
    with Reporter() as progress:
        report = asyncio.run(
            application().rebuild(
                settings,
                protocol=protocol,
                from_block=from_block,
                verify=verify,
                progress=progress,
            )
        )
    return asdict(report)
