"""What is wrong at the moment, in words: reasons, degradation, alerts and their history."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import structlog

from chimera.domain.block import Block
from chimera.domain.notices import Trouble

STALE_AFTER = 20  # seconds by which the newest block may be older than the clock
STALLED_AFTER = 5  # block times without a new block
MOST_GAP = 3  # blocks that may be fetched late in a row
GAP_SHOWN = 60.0  # seconds for which a gap that was filled stands in the reasons
SILENCE = 300.0  # seconds between two alerts about the same thing
MOST_KEPT = 100  # faults, and alerts
LOOK_EVERY = 1.0  # seconds

Name = Literal["stalled", "gap", "stale", "quorum", "sequencer"]
NAMES: Sequence[Name] = get_args(Name)


@dataclass(frozen=True, slots=True)
class Door:
    """
    An endpoint: its public name, the state of its breaker, and why that is not closed.

    `preferred`: it is the first of its kind in the configuration.
    """

    label: str
    state: str
    why: str = ""
    preferred: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """
    What the condition is judged by.

    `processed` is the newest block that was applied, None before the book is loaded. `doors` are
    the endpoints; `trouble`, `dispute` and `sequencer` (what is wrong with it) are sentences.
    """

    head: int
    processed: Block | None
    trouble: str | None = None
    redis: str = "connected"
    quarantined: Sequence[str] = ()
    doors: Sequence[Door] = ()
    dispute: str | None = None
    sequencer: str | None = None


class Alerts:
    """Faults as they begin and end, and what was told of them: once per `SILENCE` each."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        on_alert: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.faults: deque[Trouble] = deque(maxlen=MOST_KEPT)
        self.sent: deque[Trouble] = deque(maxlen=MOST_KEPT)
        self._clock, self._wall, self._on_alert = clock, wall, on_alert
        self._told_at: dict[str, float] = {}
        self._open: dict[str, Trouble] = {}
        self._log = structlog.get_logger()

    def now_wrong(self, found: dict[str, str]) -> None:
        """Take note of what is wrong now, by name: begin, continue and end faults."""
        for name in [name for name in self._open if name not in found]:
            ended = self._open.pop(name)
            if ended in self.faults:
                self.faults[self.faults.index(ended)] = replace(ended, until=int(self._wall()))
            self._log.info("fault_over", reason=name)
        for name, text in found.items():
            if name not in self._open:
                self._open[name] = Trouble(name, text, int(self._wall()))
                self.faults.append(self._open[name])
            if self._clock() - self._told_at.get(name, -SILENCE) >= SILENCE:
                self._tell(name, text)

    def _tell(self, name: str, text: str) -> None:
        self._told_at[name] = self._clock()
        self.sent.append(Trouble(name, text, int(self._wall())))
        self._on_alert(name)
        self._log.warning("alert", reason=name, fault=text)


class Condition:
    """
    Judges facts. `clock` counts seconds that never go back, `wall` those since 1970.

    What degrades the daemon says that its picture may be old or in doubt; mirroring and flags go
    on, for they follow from the chain alone.
    """

    def __init__(
        self,
        *,
        block_time: float,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        on_alert: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.alerts = Alerts(clock=clock, wall=wall, on_alert=on_alert)
        self._longest = STALLED_AFTER * block_time
        self._clock, self._wall = clock, wall
        self._newest_at = clock()
        self._late = 0  # blocks in a row that nobody announced
        self._gap, self._gap_at = 0, 0.0

    def took(self, *, live: bool) -> None:
        """Note an applied block; `live` when it had been announced."""
        self._newest_at = self._clock()
        self._late = 0 if live else self._late + 1
        if self._late > MOST_GAP:
            self._gap, self._gap_at = self._late, self._clock()

    def degraded(self, facts: Facts) -> dict[str, str]:
        """Return what degrades the daemon, by name, as sentences."""
        if facts.processed is None:
            return {}
        found: dict[str, str] = {}
        quiet = self._clock() - self._newest_at
        if quiet > self._longest:
            found["stalled"] = f"no block for {int(quiet)} s"
        if self._gap and self._clock() - self._gap_at <= GAP_SHOWN:
            found["gap"] = f"a gap of {self._gap} blocks was filled"
        age = int(self._wall()) - facts.processed.timestamp
        if age > STALE_AFTER:
            found["stale"] = f"the newest block is {age} s old"
        if facts.dispute is not None:
            found["quorum"] = facts.dispute
        if facts.sequencer is not None:
            found["sequencer"] = facts.sequencer
        return found

    def reasons(self, facts: Facts) -> list[str]:
        """Return everything that is not as it should be, as sentences."""
        if facts.processed is None:
            return ["reading the markets and accounts for the first time"]
        found = []
        if facts.head > facts.processed.number:
            found.append(f"{facts.head - facts.processed.number} blocks behind the head")
        if facts.trouble is not None:
            found.append(facts.trouble)
        if facts.redis == "fallback":
            found.append("Redis does not answer: positions are kept in memory")
        found += [
            f"{market} is unverified: accounts differed from the contract's own view"
            for market in facts.quarantined
        ]
        found += self._about_doors(facts).values()
        return [*found, *self.degraded(facts).values()]

    def look(self, facts: Facts) -> dict[str, str]:
        """Judge, and alert about what is new; return what degrades the daemon."""
        degraded = self.degraded(facts)
        self.alerts.now_wrong({**self._about_doors(facts), **degraded})
        return degraded

    def _about_doors(self, facts: Facts) -> dict[str, str]:
        return {
            f"endpoint {door.label}": f"endpoint {door.label} is left alone: {door.why}"
            for door in facts.doors
            if door.state != "closed"
        }


def breaker(doors: Sequence[Door]) -> str:
    """Return "closed" when all preferred endpoints work, else the state of the worst."""
    states = {door.state for door in doors if door.preferred}
    return next((state for state in ("open", "half-open") if state in states), "closed")


async def keep_looking(look: Callable[[], object]) -> None:
    """Look again and again, until cancelled."""
    while True:
        look()
        await asyncio.sleep(LOOK_EVERY)
