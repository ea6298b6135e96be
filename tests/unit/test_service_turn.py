"""A turn at the event loop: it ends by the clock, and others go first then."""

from __future__ import annotations

import asyncio
import time

import pytest

from chimera import service
from chimera.service import Turn


async def others_went_first(turn: Turn) -> bool:
    went: list[int] = []
    task = asyncio.create_task(note(went))
    await turn.give_way()
    found = bool(went)
    await task
    return found


async def note(went: list[int]) -> None:
    went.append(1)


async def test_a_turn_is_kept_until_its_end_and_then_given_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [10.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    turn = Turn()

    assert not await others_went_first(turn)
    now[0] += service.LONGEST_TURN
    assert await others_went_first(turn)
    assert not await others_went_first(turn)  # a new one has begun
