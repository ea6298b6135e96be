"""What systemd is told of the daemon's life: the rule alone, without socket and clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PINGS = 3  # so many within the time after which systemd gives a service up
LOOKS = 4  # so many within the time between two pings
LONGEST_BETWEEN_LOOKS = 1.0  # seconds
PATIENT_BLOCKS, LEAST_PATIENCE = 10, 30.0  # block times, seconds

READY, PING, STOPPING = "READY=1", "WATCHDOG=1", "STOPPING=1"


@dataclass(frozen=True, slots=True)
class Signs:
    """
    What the daemon shows of its life at one moment.

    `ready`: no head that a node has told us of waits to be processed. `steps`: how often long work
    (discovery, reading accounts) has reported since the start. `doing`: one line for people.
    """

    ready: bool
    processed_block: int
    steps: int
    doing: str


class Watchdog:
    """
    Decides what is due to be said: ready once, alive as long as that is true, what it is doing.

    Alive is who has nothing left to process, however long ago the newest block is, and who gets
    ahead: with blocks, or with long work. Who knows of a head and does neither for longer than
    `patience` has nothing to say any more, until that changes.

    Args:
        period: Seconds between two signs of life; None where nobody waits for them.
        patience: Seconds that a known head may wait while nothing gets ahead.
    """

    def __init__(self, *, period: float | None, patience: float) -> None:
        self._period, self._patience = period, patience
        self._last_sign: float | None = None  # of life, from the daemon to us
        self._last_ping: float | None = None  # from us to systemd
        self._stood = (0, 0)
        self._ready_said = False
        self._status_said = ""

    @property
    def look_every(self) -> float:
        """Seconds between two looks at the daemon."""
        if self._period is None:
            return LONGEST_BETWEEN_LOOKS
        return min(LONGEST_BETWEEN_LOOKS, self._period / LOOKS)

    def due(self, signs: Signs, now: float) -> list[str]:
        """Return what is to be said at `now` (seconds of a clock that never goes back)."""
        stands = signs.processed_block, signs.steps
        if self._last_sign is None or signs.ready or stands != self._stood:
            self._last_sign, self._stood = now, stands
        said = []
        if signs.ready and not self._ready_said:
            said.append(READY)
        if now - self._last_sign <= self._patience and self._is_time(now):
            said.append(PING)
        if signs.doing != self._status_said:
            said.append(f"STATUS={signs.doing}")
        return said

    def delivered(self, said: Sequence[str], now: float) -> None:
        """Note that this has reached systemd; what has not is due again."""
        for line in said:
            if line == READY:
                self._ready_said = True
            elif line == PING:
                self._last_ping = now
            else:
                self._status_said = line.removeprefix("STATUS=")

    def _is_time(self, now: float) -> bool:
        if self._period is None:
            return False
        return self._last_ping is None or now - self._last_ping >= self._period


def watchdog_seconds(environment: Mapping[str, str], *, pid: int) -> float | None:
    """Return after how many seconds of silence systemd gives process `pid` up; None for never."""
    text, whose = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not (text.isascii() and text.isdigit() and int(text)) or whose not in {"", str(pid)}:
        return None
    return int(text) / 1_000_000


def watchdog_for(seconds: float | None, *, block_time: float) -> Watchdog:
    """
    Build the rule for a chain.

    A head may wait ten block times, at least half a minute, at most half of `seconds`.

    Args:
        seconds: What `watchdog_seconds` says.
        block_time: Seconds.
    """
    patience = max(PATIENT_BLOCKS * block_time, LEAST_PATIENCE)
    if seconds is None:
        return Watchdog(period=None, patience=patience)
    return Watchdog(period=seconds / PINGS, patience=min(patience, seconds / 2))
