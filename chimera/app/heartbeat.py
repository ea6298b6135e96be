"""The daemon under systemd: ready, alive, what it is doing, and when it stops."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from chimera.domain.notices import Status
from chimera.observability.notify import Notifier, notifier
from chimera.observability.pace import Pace, spoken
from chimera.observability.watchdog import (
    STOPPING,
    Signs,
    Watchdog,
    watchdog_for,
    watchdog_seconds,
)
from chimera.service import Service

Progress = Callable[[str, int, int], None]
"""Told of long work: (stage, done, total)."""


class Labour:
    """
    Told of long work; keeps where it stands.

    Args:
        report: Who else wants to know, as (stage, done, total).
        clock: Seconds that never go back.

    Attributes:
        steps: How often it has been told.
        last: The newest report, for people; "" once that work is done.
    """

    def __init__(
        self, report: Progress | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._clock = clock
        self._paces: dict[str, Pace] = {}
        self.steps = 0
        self.last = ""

    def of_protocol(self, name: str, what: str, done: int, total: int) -> None:
        """Note that `done` of `total` is done of `what` ("blocks", "accounts") of a protocol."""
        stage = f"{name}: {what}"
        self.steps += 1
        self.last = self._sentence(stage, done, total) if done < total else ""
        if self._report is not None:
            self._report(stage, done, total)

    def _sentence(self, stage: str, done: int, total: int) -> str:
        left = self._paces.setdefault(stage, Pace()).left(done, total, self._clock())
        about = "" if left is None else f", about {spoken(left)} left"
        return f"{stage} {done} of {total}{about}"


class Heartbeat(Service):
    """Looks at the daemon again and again, on its own event loop, and tells systemd what is due."""

    def __init__(self, line: Notifier, watchdog: Watchdog, look: Callable[[], Signs]) -> None:
        super().__init__()
        self._line, self._watchdog, self._look = line, watchdog, look

    async def run(self) -> None:
        """Tell until cancelled; then say that the daemon stops."""
        self.ready.set()
        try:
            while True:
                self._tell(time.monotonic())
                await asyncio.sleep(self._watchdog.look_every)
        finally:
            self._line.say([STOPPING])
            self._line.close()

    def _tell(self, now: float) -> None:
        lines = self._watchdog.due(self._look(), now)
        if lines and self._line.say(lines):
            self._watchdog.delivered(lines, now)


def signs(status: Status, labour: Labour, *, flags: int) -> Signs:
    """Return what the rule has to know, and a line for `systemctl status`."""
    accounts = sum(protocol.accounts for protocol in status.protocols.values())
    following = f"block {status.processed_block}, {accounts} accounts, {flags} flags open"
    parts = [following if status.protocols else "starting", labour.last, *status.reasons]
    doing = "; ".join(part for part in parts if part)
    return Signs(status.ready, status.processed_block, labour.steps, doing)


def heartbeat(look: Callable[[], Signs], *, block_time: float) -> list[Heartbeat]:
    """Return the heartbeat if systemd (NOTIFY_SOCKET) listens to this process, else nothing."""
    line = notifier(os.environ)
    if line is None:
        return []
    seconds = watchdog_seconds(os.environ, pid=os.getpid())
    return [Heartbeat(line, watchdog_for(seconds, block_time=block_time), look)]
