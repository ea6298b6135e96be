"""A Redis that comes back empty, and one that two daemons write to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chimera.state.cache_redis import MARK
from devnet.chaos_chronicle import stored
from devnet.chaos_redis import STREAM, client_of
from devnet.chaos_scene import TTL, Scene
from devnet.daemon import Daemon

HALT = "chimera:halt"
BACK = 60.0  # seconds until everything stands in Redis again
BEHIND = 12  # blocks


def open_ids(scene: Scene) -> set[str]:
    return {flag["id"] for flag in scene.daemon.opportunities("&state=open")[1]}


def flagged(scene: Scene) -> list[str]:
    """The ids that the stream calls open, as often as it says so."""
    with client_of(scene.redis) as client:
        entries = [fields for _, fields in client.xrange(STREAM)]
    return [fields["id"] for fields in entries if fields["event"] == "flagged"]


def emptied(scene: Scene) -> None:
    with client_of(scene.redis) as client:
        client.flushall()
    scene.forget()


def restarted(scene: Scene) -> None:
    scene.redis.kill()
    scene.redis.start()
    scene.forget()


@pytest.mark.parametrize("lose", [emptied, restarted])
def test_everything_is_told_again_and_once(lose: Callable[[Scene], None], scene: Scene) -> None:
    wanted = open_ids(scene)
    assert wanted, "nobody is flagged"
    lose(scene)
    with client_of(scene.redis) as client:
        client.set(HALT, "by hand")
    began = time.monotonic()
    while set(flagged(scene)) != wanted and time.monotonic() - began < BACK:
        time.sleep(0.1)

    assert sorted(flagged(scene)) == sorted(wanted)
    assert scene.published(seconds=BACK) == ""
    scene.tell(f"all told again after {time.monotonic() - began:.1f} s")
    scene.follow(2)
    assert len(flagged(scene)) == len(set(flagged(scene)))
    with client_of(scene.redis) as client:
        assert client.get(HALT) == "by hand"
        client.delete(HALT)


@contextmanager
def second_daemon(scene: Scene, folder: Path) -> Iterator[Daemon]:
    """Another daemon on the same chain and the same Redis, with a history of its own."""
    config = scene.stage.write_config(
        folder / "second.toml",
        ws=scene.ws.ws,
        http=scene.http.http,  # where nobody is asked while the node mines
        redis_url=scene.redis.url,
        history=f"sqlite+aiosqlite:///{folder / 'second.db'}",
        extra={"redis": {"ttl": TTL}, "reconcile": {"enabled": True}},
    )
    with Daemon(config, folder / "second.log") as daemon:
        yield daemon


def blocks(scene: Scene) -> dict[str, int]:
    """The block that each document names."""
    with client_of(scene.redis) as client:
        names = sorted(client.scan_iter("position:*", count=1000))
        values: list[Any] = client.mget(names) if names else []
    found = zip(names, values, strict=True)
    return {name: json.loads(value)["block"] for name, value in found if value is not None}


def expired(scene: Scene) -> int:
    """How many keys have died of age, as they do where a machine is too busy to refresh them."""
    with client_of(scene.redis) as client:
        return int(client.info("stats")["expired_keys"])


def test_a_second_daemon_that_is_behind_takes_nothing_back(scene: Scene, tmp_path: Path) -> None:
    """
    It starts from an old block and catches up, while the first one stands at the head.

    Who has repaid meanwhile has no key, so nothing says that he has: the one behind writes him, of
    the old block, until it comes to the repayment.
    """
    with second_daemon(scene, tmp_path) as second:
        second.wait_until(scene.follow(1))
        assert stored(tmp_path / "second.db", scene.stage) == ""
        second.kill()
        with client_of(scene.redis) as client:  # or its mark would die of age, and be counted
            for mark in client.scan_iter(f"{MARK}*"):
                client.delete(mark)
        scene.follow(BEHIND)
        assert scene.published() == ""
        before = expired(scene)  # first: what dies from here on may be missing
        seen = stood = blocks(scene)

        second.start()
        head, deadline = scene.stage.node.number, time.monotonic() + 60
        sunk: dict[str, tuple[int, int]] = {}
        while second.log.read_text().count('"following"') < 2 or not _stands(second, head):
            assert time.monotonic() < deadline, second.log_tail()
            now = blocks(scene)
            sunk |= {name: (at, seen[name]) for name, at in now.items() if at < seen.get(name, 0)}
            lost = sunk.keys() | (stood.keys() - now.keys())  # nothing keeps the old from the dead
            assert len(lost) <= expired(scene) - before, f"removed, or sunk: {sunk}"
            seen = seen | now
        resumed = [line for line in second.log.read_text().splitlines() if '"following"' in line][
            -1
        ]

    assert json.loads(resumed)["block"] <= head - BEHIND
    verdict = scene.verdict()
    assert verdict.clean, verdict
    assert scene.published() == ""


def _stands(daemon: Daemon, head: int) -> bool:
    try:
        body = daemon.get("/readyz")[1]
    except OSError:
        return False
    return bool(body["ready"] and body["processed_block"] == head)
