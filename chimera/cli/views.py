"""Answers as tables for people, or as one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal, localcontext
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chimera.cli.application import Row

Document = Mapping[str, Any]

PIPE_WIDTH = 1000  # a program that reads tables wants whole lines
WHOLE_ADDRESSES = 140  # columns from which a table has room for them
ALL_COLUMNS = 100  # columns from which a table has room for what can be told from other columns
SHOWN_PLACES = 6  # of a health factor in a table; cut, so that 0.9999999 does not read 1.000000
VALUE_PLACES, SMALL_PLACES = 2, 6  # of a value in a table, and of one under 1
EXACT = 100  # digits that sums of decimal strings keep
NUMBERS = {"Health", "Collateral", "Debt", "Bonus", "Under 1", "Since", "Price", "Accounts"}
NUMBERS |= {"Borrowers", "Reconciled at", "Mismatches"}
WORDS = {"Tokens", "State", "Kind", "Alive", "Subject", "Fact"}  # broken between words, if at all
NEAR = Decimal("1.1")


def print_json(document: Any) -> None:  # noqa: ANN401  (any JSON)
    """Write one JSON document to stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def print_positions(page: Document) -> None:
    """Write a table of positions, and how it goes on."""
    console = _console()
    table = _table("Account", "Health", "Collateral", "Debt", "Under 1", "Tokens")
    for item in page["items"]:
        table.add_row(
            _account(item, console.width),
            _health(item["health_factor"]),
            _sum(leg["value"] for leg in item["collateral"] if leg["enabled"]),
            _sum(leg["value"] for leg in item["debt"]),
            _text(item["blocks_unhealthy"] or "", "bold red"),
            _tokens(item),
        )
    currencies = sorted({item["base_currency"] for item in page["items"]})
    remarks = [f"values in {' or '.join(currencies)}"] if currencies else []
    if any(not leg["enabled"] for item in page["items"] for leg in item["collateral"]):
        remarks.append("tokens in brackets are not enabled as collateral and do not count")
    _print_page(console, table, page, "position", remarks)


def print_opportunities(page: Document) -> None:
    """Write a table of episodes, and how it goes on."""
    console = _console()
    roomy = console.width >= ALL_COLUMNS
    under = ("Under 1",) if roomy else ()
    table = _table("Account", "Health", "Since", *under, "Debt", "Bonus", "State")
    for item in page["items"]:
        best = item["best"]
        table.add_row(
            _account(item, console.width),
            _health(item["health_factor"]),
            _text(item["first_unhealthy_block"]),
            *([_text(item["blocks_unhealthy"])] if roomy else []),
            _sum([item["debt_value"]]),
            _sum([] if best is None else [best["gross_bonus"]]),
            _outcome(item),
        )
    _print_page(console, table, page, "opportunity", [])


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
        console.print(_sources(priced, console.width))
    wrong = [row for row in rows if not row.ok]
    told = f"{len(wrong)} of {len(rows)} facts do not hold" if wrong else "everything holds"
    console.print(_text(told, "bold red" if wrong else "bold green"))


def _sources(rows: Sequence[Row], width: int) -> Table:
    table = _table("", "Asset", "Source", "Kind", "Price", "Alive")
    for row in rows:
        its = row.source
        price = "-" if its["price"] is None else f"{its['price']} {its['currency']}"
        age = "" if its["age"] is None else f", {its['age']} s old"
        capped = " (at its cap)" if its["capped"] else ""
        table.add_row(
            _mark(row),
            _text(row.subject),
            _text(_address(its["address"] or "-", width)),
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
    wrong = report["mismatches"]
    line = f"rebuilt {report['accounts']} accounts, {wrong} mismatches, {report['seconds']} s"
    _console().print(_text(line, "bold red" if wrong else ""))


def _console() -> Console:
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(
            title,
            justify="right" if title in NUMBERS else "left",
            no_wrap=title not in WORDS,
            overflow="fold" if title in WORDS else "ellipsis",
        )
    return table


def _grid(rows: Iterable[tuple[str, Text]]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, value in rows:
        grid.add_row(_text(name, "dim"), value)
    return grid


def _print_page(
    console: Console, table: Table, page: Document, noun: str, remarks: Sequence[str]
) -> None:
    count = len(page["items"])
    if count:
        console.print(table)
    plural = (
        noun if count == 1 else f"{noun.removesuffix('y')}ies" if noun[-1] == "y" else f"{noun}s"
    )
    more = ", and there are more (--limit)" if page["next_cursor"] else ""
    told = [f"{count} {plural}{_place(page)}{more}", *remarks]
    if count and console.width < WHOLE_ADDRESSES:
        told.append("--json has whole addresses and all digits")
    console.print(_text("; ".join(told), "dim"))


def _place(page: Document) -> str:
    """Say at which block, or blocks: those in Redis are as old as their last change."""
    blocks = {item["block"] for item in page["items"] if "block" in item} or {page["block"]}
    if None in blocks:
        return ""
    first, last = min(blocks), max(blocks)
    return f" at block {last}" if first == last else f" at blocks {first} to {last}"


def _account(item: Document, width: int) -> Text:
    """Name an account as `chimera why` wants it."""
    return _text(f"{item['protocol']} {_address(item['user'], width)}")


def _address(address: str, width: int) -> str:
    if width >= WHOLE_ADDRESSES or not address.startswith("0x"):
        return address
    return f"{address[:6]}..{address[-4:]}"


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


def _sum(values: Iterable[str]) -> Text:
    """Write the sum of values for people, cut to a few places; nothing is nothing."""
    with localcontext(prec=EXACT, rounding=ROUND_DOWN):
        total = sum(map(Decimal, values), Decimal(0))
        if not total:
            return Text("-", "dim")
        smallest = Decimal(1).scaleb(-(VALUE_PLACES if total >= 1 else SMALL_PLACES))
        if total < smallest:
            return _text(f"<{smallest:f}")
        return _text(f"{total.quantize(smallest):,f}")


def _tokens(item: Document) -> Text:
    """Name the tokens of both sides, and what is wrong with the account."""
    supplied = [
        leg["symbol"] if leg["enabled"] else f"({leg['symbol']})" for leg in item["collateral"]
    ]
    owed = [leg["symbol"] for leg in item["debt"]]
    sides = _text(" / ".join(", ".join(side) or "-" for side in (supplied, owed)))
    if item["error"] is not None:
        sides.append_text(_text(f" {item['error']}", "bold red"))
    return sides


def _outcome(item: Document) -> Text:
    if item["state"] != "open":
        return _text(f"{item['closed_reason']} at block {item['closed_block']}", "dim")
    if item["liquidatable"]:
        return Text("liquidatable", "bold red")
    return _text(f"not liquidatable: {item['reason']}", "red")
