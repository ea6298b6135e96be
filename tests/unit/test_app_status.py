"""What the house shows of itself, with every room built and none of them started."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimera.app import status
from chimera.app.build import Rooms, build_rooms
from chimera.app.condition import Condition
from chimera.errors import Retry
from chimera.settings.loading import load
from tests.fakes_store import opportunity

CONFIG = """
[chain]
name = "test"
id = 8453
block_time = 2.0

[rpc]
http = ["http://node.example"]
ws = ["ws://node.example"]

[history]
url = "sqlite+aiosqlite:///chimera.db"

[[protocols]]
name = "aave"
kind = "aave_v3"
address = "0x00000000000000000000000000000000000000a1"
from_block = 1
"""


@pytest.fixture
def rooms(tmp_path: Path) -> Rooms:
    config = tmp_path / "test.toml"
    config.write_text(CONFIG)
    return build_rooms(load(config))


def shown(rooms: Rooms, name: str) -> float:
    page = rooms.metrics.render().decode().splitlines()
    [line] = [line for line in page if line.startswith(f"{name} ")]
    return float(line.rsplit(" ", 1)[1])


async def test_flags_that_wait_for_redis_and_those_that_are_dropped_are_counted(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms.flags, "_bound", 3)

    rooms.flags.publish([opportunity(f"{number}") for number in range(5)])

    assert shown(rooms, "chimera_flags_pending") == 3
    assert shown(rooms, "chimera_flags_dropped_total") == 2
    assert status.facts_of(rooms).flags_dropped == 2


async def test_what_the_history_does_not_take_is_counted(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def record(**_: object) -> None:
        raise Retry("disk is full")

    monkeypatch.setattr(rooms.history, "record", record)
    monkeypatch.setattr("chimera.store.writer.MAX_EPISODES", 2)
    rooms.writer.submit(None, [opportunity(f"{number}") for number in range(5)])

    assert not await rooms.writer.flush()

    facts = status.facts_of(rooms)
    assert shown(rooms, "chimera_history_failures_total") == 1
    assert shown(rooms, "chimera_history_dropped_total") == 3
    assert (facts.history_pending, facts.episodes_dropped) == (2, 3)
    assert facts.history_waits > 0


async def test_a_protocol_that_was_left_out_is_shown(rooms: Rooms) -> None:
    condition = Condition(block_time=2.0)
    status.look(rooms, condition)
    assert shown(rooms, "chimera_protocols_left_out") == 0

    rooms.engine.unfollowed["venus"] = "it mints"
    status.look(rooms, condition)

    assert status.facts_of(rooms).left_out == {"venus": "it mints"}
    assert shown(rooms, "chimera_protocols_left_out") == 1
    assert shown(rooms, 'chimera_degraded{reason="left_out"}') == 0  # nothing is read yet
