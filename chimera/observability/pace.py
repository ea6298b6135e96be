"""How long work will still take, from how fast it went in the last minute."""

from __future__ import annotations

from collections import deque

SPAN = 60.0  # seconds that are looked back on: dense and sparse stretches differ
LEAST = 1.0  # seconds without which nothing can be said
MINUTE, HOUR, DAY = 60, 3600, 86_400


class Pace:
    """Told now and then how much is done; estimates when all of it is."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def left(self, done: int, total: int, now: float) -> float | None:
        """
        Return the seconds that are left at the present pace; None while nobody can tell.

        Args:
            done: How much is done.
            total: Of how much; 0 where that is not known.
            now: Seconds of a clock that never goes back.
        """
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # it began anew
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= SPAN:  # noqa: PLR2004  (two ends)
            self._seen.popleft()
        then, before = self._seen[0]
        if not total or now - then < LEAST or done == before:
            return None
        return max(0, total - done) * (now - then) / (done - before)


def spoken(seconds: float) -> str:
    """Say a time in at most two units, rounded down."""
    whole = int(seconds)
    for unit, name, smaller, its_name in (
        (DAY, "d", HOUR, "h"),
        (HOUR, "h", MINUTE, "min"),
        (MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // smaller} {its_name}"
    return f"{whole} s"
