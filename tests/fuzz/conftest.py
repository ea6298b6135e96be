"""The time that each target of the fuzz run gets, and how many examples it made of it."""

from __future__ import annotations

import pytest

from tests.fuzz.fuzzing import SECONDS, SEED, Fuzz

TRIED = "examples tried"
_shares: dict[str, float] = {}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    chosen = [item for item in items if "fuzz" in getattr(item, "fixturenames", ())]
    _shares.update((item.nodeid, SECONDS / len(chosen)) for item in chosen)


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    def told(examples: int) -> None:
        request.node.user_properties.append((TRIED, examples))

    return Fuzz(_shares[request.node.nodeid], told)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was tried; under pytest-xdist the parts stay silent."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    tried = [(r.nodeid, n) for r in reports for name, n in r.user_properties if name == TRIED]
    if tried:
        terminalreporter.section(f"fuzz, seed {SEED}")
        for place, number in tried:
            terminalreporter.write_line(f"{number:>8} {place.rpartition('::')[2]}")
