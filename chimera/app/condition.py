"""What is wrong at the moment, in words: reasons, degradation, alerts and their history."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import structlog

from chimera.domain.block import Block
from chimera.domain.notices import Trouble

STALE_AFTER = 20  # seconds by which the newest block may be older than the clock
STALLED_AFTER = 5  # block times without a new block
MOST_GAP = 3  # blocks that may be fetched late in a row
GAP_SHOWN = 60.0  # seconds for which a gap that was filled stands in the reasons
DROPPED_SHOWN = 60.0  # seconds, the same for what was dropped
LONGEST_WAIT = 30.0  # seconds for which the history may take nothing
MOST_NAMED = 3  # markets in one sentence
SILENCE = 300.0  # seconds between two alerts about the same thing
MOST_KEPT = 100  # faults, and alerts
LOOK_EVERY = 1.0  # seconds

Name = Literal["stalled", "gap", "stale", "quorum", "sequencer", "left_out"]
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
    `left_out` says of each protocol that is not followed any more why. `history_waits` is for how
    many seconds the oldest of `history_pending` facts has waited to be written. `flags_dropped` and
    `episodes_dropped` count since the start.
    """

    head: int
    processed: Block | None
    trouble: str | None = None
    redis: str = "connected"
    quarantined: Sequence[str] = ()
    doors: Sequence[Door] = ()
    dispute: str | None = None
    sequencer: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    history_pending: int = 0
    history_waits: float = 0.0
    flags_dropped: int = 0
    episodes_dropped: int = 0


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
        self._dropped, self._dropped_at = 0, -DROPPED_SHOWN

    def took(self, *, live: bool, behind: int = 0) -> None:
        """
        Note an applied block; `live` when it had been announced.

        A gap begins with a block that is more than one behind the head: whoever asks for heads
        because nobody announces them, and keeps up, fills none. It ends at the head.
        """
        self._newest_at = self._clock()
        late = not live and (self._late > 0 or behind > 1)
        self._late = self._late + 1 if late else 0
        if self._late > MOST_GAP:
            self._gap, self._gap_at = self._late, self._clock()
        if behind <= 0:
            self._late = 0

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
        if facts.left_out:
            found["left_out"] = "; ".join(
                f"{name} is not followed any more: {why}" for name, why in facts.left_out.items()
            )
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
        found += [
            f"{market} is unverified: accounts differed from the contract's own view"
            for market in facts.quarantined
        ]
        found += self._about_edges(facts).values()
        found += self._about_doors(facts).values()
        return [*found, *self.degraded(facts).values()]

    def look(self, facts: Facts) -> dict[str, str]:
        """Judge, and alert about what is new; return what degrades the daemon."""
        if (dropped := facts.flags_dropped + facts.episodes_dropped) > self._dropped:
            self._dropped, self._dropped_at = dropped, self._clock()
        degraded, edges = self.degraded(facts), self._about_edges(facts)
        if facts.quarantined:
            edges["quarantine"] = f"in quarantine: {_some(facts.quarantined)}"
        self.alerts.now_wrong({**self._about_doors(facts), **edges, **degraded})
        return degraded

    def _about_edges(self, facts: Facts) -> dict[str, str]:
        """Return what keeps others from being told; blocks and flags go on."""
        found: dict[str, str] = {}
        if facts.redis == "fallback":
            found["redis"] = "Redis does not answer: positions are kept in memory"
        if facts.history_waits > LONGEST_WAIT:
            found["history"] = (
                f"the history takes nothing: {facts.history_pending} facts wait,"
                f" the oldest for {int(facts.history_waits)} s"
            )
        if self._clock() - self._dropped_at < DROPPED_SHOWN:
            found["dropped"] = (
                f"dropped since the start: {facts.flags_dropped} flags for Redis,"
                f" {facts.episodes_dropped} episodes for the history"
            )
        return found

    def _about_doors(self, facts: Facts) -> dict[str, str]:
        return {
            f"endpoint {door.label}": f"endpoint {door.label} is left alone: {door.why}"
            for door in facts.doors
            if door.state != "closed"
        }


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def breaker(doors: Sequence[Door]) -> str:
    """Return "closed" when all preferred endpoints work, else the state of the worst."""
    states = {door.state for door in doors if door.preferred}
    return next((state for state in ("open", "half-open") if state in states), "closed")


async def keep_looking(look: Callable[[], object]) -> None:
    """Look again and again, until cancelled."""
    while True:
        look()
        await asyncio.sleep(LOOK_EVERY)
