"""Answers as tables for people, or as one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chimera.cli.application import Row

Document = Mapping[str, Any]

PIPE_WIDTH = 1000  # a program that reads tables wants whole lines
SHOWN_PLACES = 6  # of a health factor in a table; cut, so that 0.9999999 does not read 1.000000
EXACT = 100  # digits that sums of decimal strings keep
NEAR = Decimal("1.1")


def print_json(document: Any) -> None:  # noqa: ANN401  (any JSON)
    """Write one JSON document to stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def print_positions(page: Document) -> None:
    """Write a table of positions, and how it goes on."""
    table = _table("Protocol", "Account", "Health", "Collateral", "Debt", "Threshold", "Note")
    for item in page["items"]:
        table.add_row(
            _text(item["protocol"]),
            _text(item["user"]),
            _health(item["health_factor"]),
            _side(item["collateral"], item["base_currency"]),
            _side(item["debt"], item["base_currency"]),
            _text(item["liquidation_threshold"]),
            _note(item),
        )
    _print_page(table, page, "position")


def print_opportunities(page: Document) -> None:
    """Write a table of episodes, and how it goes on."""
    table = _table(
        "Protocol", "Account", "Health", "State", "Blocks", "Under 1", "Debt", "Bonus", "Note"
    )
    for item in page["items"]:
        best = item["best"]
        table.add_row(
            _text(item["protocol"]),
            _text(item["user"]),
            _health(item["health_factor"]),
            Text(item["state"], "bold red" if item["state"] == "open" else "dim"),
            _text(f"{item['first_unhealthy_block']}-{item['closed_block'] or ''}"),
            _text(item["blocks_unhealthy"]),
            _text(item["debt_value"]),
            _text("" if best is None else best["gross_bonus"]),
            _text(_outcome(item)),
        )
    _print_page(table, page, "opportunity")


def print_status(status: Document) -> None:
    """Write what the daemon says of itself."""
    console = _console()
    state = Text("ready", "bold green") if status["ready"] else Text("not ready", "bold red")
    lag = status["lag_blocks"]
    rows = {
        "state": state,
        "chain": _text(status["chain_id"]),
        "block": _text(f"{status['processed_block']} of {status['head']} ({lag} behind)"),
        "redis": _text(status["redis"], "" if status["redis"] == "connected" else "yellow"),
        "breaker": _text(status["breaker"]),
    }
    console.print(_grid(rows.items()))
    for reason in status["reasons"]:
        console.print(_text(f"- {reason}", "yellow"))
    table = _table("Protocol", "Accounts", "Borrowers", "Reconciled at", "Mismatches")
    for name, its in status["protocols"].items():
        wrong = its["mismatches"]
        table.add_row(
            _text(name),
            _text(its["accounts"]),
            _text(its["borrowers"]),
            _text(its["last_reconciled_block"] or "-"),
            _text(wrong, "bold red" if wrong else ""),
        )
    console.print(table)


def fact(row: Row) -> dict[str, Any]:
    """Return one fact of `check` as a document; of a price, with all that its source tells."""
    plain = {"subject": row.subject, "fact": row.fact, "ok": row.ok}
    return {**plain, "source": dict(row.source)} if row.source else plain


def print_check(rows: Sequence[Row]) -> None:
    """Write one line per fact, then one per price source."""
    console = _console()
    table = _table("", "Subject", "Fact")
    for row in rows:
        if not row.source:
            table.add_row(_mark(row), _text(row.subject), _text(row.fact))
    console.print(table)
    priced = [row for row in rows if row.source]
    if priced:
        console.print()
        console.print(_sources(priced))
    wrong = [row for row in rows if not row.ok]
    told = f"{len(wrong)} of {len(rows)} facts do not hold" if wrong else "everything holds"
    console.print(_text(told, "bold red" if wrong else "bold green"))


def _sources(rows: Sequence[Row]) -> Table:
    table = _table("", "Asset", "Source", "Kind", "Price", "Alive")
    for row in rows:
        its = row.source
        price = "-" if its["price"] is None else f"{its['price']} {its['currency']}"
        age = "" if its["age"] is None else f", {its['age']} s old"
        capped = " (at its cap)" if its["capped"] else ""
        table.add_row(
            _mark(row),
            _text(row.subject),
            _text(its["address"] or "-"),
            _text(f"{its['kind']}{capped}"),
            _text(price),
            _text(f"yes{age}") if its["alive"] else Text("no", "bold red"),
        )
    return table


def _mark(row: Row) -> Text:
    return Text("ok", "green") if row.ok else Text("FAILS", "bold red")


def print_why(explanation: Document) -> None:
    """Write every step of a health factor, then what decides about the account."""
    console = _console()
    place = f" at block {explanation['block']}" if "block" in explanation else ""
    console.print(_text(f"{explanation['protocol']} {explanation['user']}{place}", "bold"))
    console.print(_grid((step["name"], _text(step["value"])) for step in explanation["steps"]))
    if explanation.get("verdict"):
        console.print(_text(explanation["verdict"], "bold"))


def print_rebuilt(report: Document) -> None:
    """Write what a rebuild did, in one line."""
    seconds, rest = divmod(report["milliseconds"], 1000)
    wrong = report["mismatches"]
    line = f"rebuilt {report['accounts']} accounts, {wrong} mismatches, {seconds}.{rest:03d} s"
    _console().print(_text(line, "bold red" if wrong else ""))


def _console() -> Console:
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title, no_wrap=title == "Account", overflow="fold")
    return table


def _grid(rows: Iterable[tuple[str, Text]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, value in rows:
        grid.add_row(_text(name, "dim"), value)
    return grid


def _print_page(table: Table, page: Document, noun: str) -> None:
    count = len(page["items"])
    if count:
        _console().print(table)
    plural = (
        noun if count == 1 else f"{noun.removesuffix('y')}ies" if noun[-1] == "y" else f"{noun}s"
    )
    more = ", and there are more (--limit)" if page["next_cursor"] else ""
    place = "" if page["block"] is None else f" at block {page['block']}"
    _console().print(_text(f"{count} {plural}{place}{more}", "dim"))


def _text(value: object, style: str = "") -> Text:
    """Write a value without what a token's symbol could do to a terminal."""
    return Text("".join(mark if mark.isprintable() else "?" for mark in str(value)), style)


def _health(factor: str | None) -> Text:
    if factor is None:
        return Text("-", "dim")
    whole, _, places = factor.partition(".")
    value = Decimal(factor)
    style = "bold red" if value < 1 else "yellow" if value < NEAR else "green"
    return Text(f"{whole}.{places[:SHOWN_PLACES]}", style)


def _side(legs: Sequence[Document], currency: str) -> Text:
    """Write one side of an account: the exact sum of its values, and of which tokens."""
    if not legs:
        return Text("-", "dim")
    with localcontext(prec=EXACT):
        total = sum((Decimal(leg["value"]) for leg in legs), Decimal(0))
        return _text(f"{total:f} {currency} ({', '.join(leg['symbol'] for leg in legs)})")


def _note(item: Document) -> Text:
    if item["error"] is not None:
        return _text(item["error"], "bold red")
    streak = item["blocks_unhealthy"]
    return _text(f"under 1 for {streak} blocks" if streak else "")


def _outcome(item: Document) -> str:
    if item["closed_reason"] is not None:
        return str(item["closed_reason"])
    return "liquidatable" if item["liquidatable"] else f"not liquidatable: {item['reason']}"
