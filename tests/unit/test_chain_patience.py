"""How the feed waits out a node that fails."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from chimera.chain.feed import LONGEST_PAUSE
from chimera.chain.patience import FIRST_PAUSE, Patience
from chimera.errors import Retry
from chimera.rpc.faults import AskedToWait
from chimera.rpc.pauses import JITTER


async def paused(patience: Patience, fault: Exception) -> float:
    began = time.monotonic()
    async with asyncio.timeout(20.0):
        await patience.pause(fault)
    return time.monotonic() - began


@pytest.mark.parametrize("drawn", [0.0, 1.0])
async def test_pauses_double_up_to_the_longest_within_the_jitter(
    drawn: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    timeout = asyncio.timeout

    def noted(seconds: float) -> asyncio.Timeout:
        pauses.append(seconds)
        return timeout(0)

    monkeypatch.setattr("chimera.chain.patience.asyncio.timeout", noted)
    patience = Patience("test", longest=LONGEST_PAUSE, draw=lambda: drawn)
    for _ in range(6):
        await patience.pause(Retry("down"))

    factor = 1 + JITTER * (2 * drawn - 1)
    usual = [FIRST_PAUSE, 0.2, 0.4, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert pauses == pytest.approx([factor * pause for pause in usual])
    assert JITTER == 0.2


async def test_a_reason_to_hope_ends_a_pause() -> None:
    patience = Patience("test", first=19.0, longest=19.0)
    asyncio.get_running_loop().call_later(0.05, patience.encourage)

    assert await paused(patience, Retry("down")) < 10.0


async def test_no_pause_is_shorter_than_what_the_endpoint_asks_for() -> None:
    patience = Patience("test", first=0.01)

    assert await paused(patience, AskedToWait("busy", 0.3)) >= 0.3


async def test_a_reason_to_hope_ends_a_pause_that_was_asked_for_as_well() -> None:
    """The pool asks nobody who is paused: what there is to hope of is another endpoint."""
    patience = Patience("test", first=0.01)
    asyncio.get_running_loop().call_later(0.05, patience.encourage)

    assert await paused(patience, AskedToWait("busy", 19.0)) < 10.0


async def test_hope_from_before_a_pause_does_not_shorten_it() -> None:
    patience = Patience("test", first=0.2, draw=lambda: 0.5)
    patience.encourage()

    assert await paused(patience, Retry("down")) >= 0.2


async def test_one_line_tells_of_a_fault_and_one_of_its_end() -> None:
    patience = Patience("test", first=0.001)
    with capture_logs() as lines:
        for fault in ("down", "still down"):
            await patience.pause(Retry(fault))
        assert (patience.failures, patience.fault) == (2, "still down")
        patience.over()
        patience.over()

    assert [line["event"] for line in lines] == ["chain_fault", "chain_fault_over"]
