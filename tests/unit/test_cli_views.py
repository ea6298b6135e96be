"""Tables on terminals of usual widths: whole words, whole numbers, nothing lost."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from rich.text import Text

from chimera.cli import views
from tests.fakes_api import FLAG, SAFE, UNDER
from tests.fakes_cli import Row

MILLIONS = "12345678.90123456"
RICH = replace(
    UNDER,
    protocol="seamless",
    collateral=(replace(UNDER.collateral[0], symbol="wstETH", value=MILLIONS),) * 3,
    debt=(replace(UNDER.debt[0], value=MILLIONS),),
    blocks_unhealthy=12345,
)
FLAGS = [
    replace(FLAG, protocol="seamless", debt_value=MILLIONS, first_unhealthy_block=38123456),
    replace(FLAG, liquidatable=False, reason="health factor is above 0.95", best=None),
    replace(FLAG, state="closed", closed_block=38123499, closed_reason="liquidated"),
]
SOURCE = {
    "asset": UNDER.user,
    "address": UNDER.user,
    "kind": "capped ratio",
    "capped": True,
    "alive": True,
    "price": "2950.00000000",
    "currency": "USD",
    "age": 3600,
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(
    monkeypatch: pytest.MonkeyPatch, width: int, view: Callable[[Any], None], what: object
) -> list[str]:
    """Let a view write to a terminal of that width; return its lines."""
    out = Terminal()
    for name, value in (("COLUMNS", str(width)), ("LINES", "50"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", out)
    view(what)
    lines = [Text.from_ansi(line).plain.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    assert not any("\N{HORIZONTAL ELLIPSIS}" in line for line in lines)
    return lines


def page(*items: object) -> dict[str, Any]:
    documents = [asdict(item) for item in items]  # type: ignore[call-overload]
    return {"block": 120, "items": documents, "next_cursor": None}


@pytest.mark.parametrize("width", [80, 120])
def test_positions_fit_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = shown(monkeypatch, width, views.print_positions, page(RICH, SAFE))

    assert lines[0].split() == [
        *("Account", "Health", "Collateral", "Debt", "Under", "1", "Tokens")
    ]
    assert lines[1].startswith("seamless 0xfB69..d359  0.980000  37,037,036.70  12,345,678.90")
    safe = next(line for line in lines if line.startswith("aave"))
    assert safe.startswith("aave 0x5aAe..eAed      1.260522       3,000.00       2,000.00")
    words = {word for line in lines[1:] for word in line.split()}
    assert words >= {"wstETH,", "wstETH", "WETH", "USDC"}


@pytest.mark.parametrize("width", [80, 120])
def test_opportunities_fit_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = shown(monkeypatch, width, views.print_opportunities, page(*FLAGS))

    assert ("Under 1" in lines[0]) is (width == 120)
    assert lines[1].startswith("seamless 0xfB69..d359  0.980000  38123456  ")
    assert lines[1].endswith("12,345,678.90  12.50  liquidatable")
    words = [word for line in lines[1:-1] for word in line.split()]
    for told in ("liquidatable:", "health", "factor", "above", "liquidated", "38123499"):
        assert told in words


def test_a_wide_terminal_has_whole_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, 140, views.print_positions, page(SAFE))

    assert lines[1].startswith(f"aave {SAFE.user}  1.260522")
    assert lines[-1] == "1 position at block 120; values in USD"


@pytest.mark.parametrize("width", [80, 120])
def test_price_sources_fit_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    rows = [Row("seamless wstETH", "alive", ok=True, source=SOURCE)]

    lines = shown(monkeypatch, width, views.print_check, rows)

    [line] = [line for line in lines if "wstETH" in line]
    assert line.startswith("ok  seamless wstETH  0xfB69..d359  capped")
    assert "2950.00000000 USD" in line


def test_every_step_of_why_has_the_whole_address(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [{"name": "eMode price", "value": f"1.0 USD ({SAFE.user})"}]
    told = {"protocol": "aave", "user": SAFE.user, "steps": steps, "verdict": "not flagged"}

    lines = shown(monkeypatch, 80, views.print_why, told)

    assert lines == [
        f"aave {SAFE.user}",
        f"eMode price  1.0 USD ({SAFE.user})",
        "not flagged",
    ]
