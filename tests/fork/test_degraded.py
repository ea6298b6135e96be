"""What a real daemon says of a chain that stands still, and of blocks that it had to fetch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from chimera.app.condition import MOST_GAP, STALLED_AFTER
from devnet.daemon import Daemon
from devnet.proxy import CountingProxy
from devnet.stage import Stage

BLOCK_TIME = 0.5  # seconds: a chain that pauses for 2.5 s stands still
WITHIN = 60.0  # seconds; the daemon looks every second, the rest is for a busy machine
SECOND = 1  # between the timestamps of two blocks

Scene = tuple[Stage, Daemon, CountingProxy]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A daemon that has followed a block."""
    tmp_path = tmp_path_factory.mktemp("degraded")
    with Stage.build(seed=3, borrowers=6) as stage, CountingProxy(stage.anvil.http) as proxy:
        config = stage.write_config(
            tmp_path / "market.toml",
            ws=proxy.ws,
            http=proxy.http,
            extra={"chain": {"block_time": BLOCK_TIME}, "reconcile": {"enabled": False}},
        )
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            daemon.wait_until(stage.mine(SECOND))
            yield stage, daemon, proxy


def says(daemon: Daemon, words: str) -> bool:
    """Tell whether it calls itself degraded for a reason of these words."""
    body = daemon.get("/readyz")[1]
    found = any(words in reason for reason in body["reasons"])
    assert body["degraded"] or not found
    return found


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alerted(daemon: Daemon) -> list[str]:
    """Return the names of what was alerted about, in order."""
    return [event["reason"] for event in daemon.told("alert")]


def miss(scene: Scene, blocks: int) -> None:
    """Let the daemon fetch so many blocks that nobody announced."""
    stage, daemon, proxy = scene
    proxy.cut()
    for _ in range(blocks):
        stage.mine(SECOND)
    proxy.restore()
    daemon.wait_until(stage.node.number)


def test_a_chain_that_stands_still_is_stalled_until_it_goes_on(scene: Scene) -> None:
    stage, daemon, _ = scene
    began = time.monotonic()
    for _ in range(2):  # that a block came is noted after it shows, but before the next
        daemon.wait_until(stage.mine(SECOND))
    until(lambda: says(daemon, "no block for"))
    assert time.monotonic() - began >= STALLED_AFTER * BLOCK_TIME
    until(lambda: "stalled" in alerted(daemon))

    def goes_on() -> bool:
        daemon.wait_until(stage.mine(SECOND))
        return not says(daemon, "no block for")

    until(goes_on)


def test_more_blocks_than_three_that_were_missed_are_a_gap(scene: Scene) -> None:
    _, daemon, _ = scene
    miss(scene, MOST_GAP)
    miss(scene, 1)  # the gap before, had there been one, is noted by now
    assert not says(daemon, "a gap of")
    assert "gap" not in alerted(daemon)

    miss(scene, MOST_GAP + 2)
    until(lambda: says(daemon, "a gap of"))
    until(lambda: "gap" in alerted(daemon))
