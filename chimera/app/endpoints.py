"""The endpoints as an operator sees them: whom the daemon leaves alone, and how each one does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from chimera.app.condition import Door
from chimera.observability.metrics import Metrics
from chimera.rpc.pool import Member, Pool
from chimera.rpc.websocket import Source

BREAKER = {"closed": 0, "half-open": 1, "open": 2}

Place = tuple[str, str, int, Member | Source]


def doors(members: Sequence[Member], sources: Sequence[Source]) -> list[Door]:
    """Return every endpoint, those for requests first; the first of a kind is the preferred."""
    return [
        Door(f"{label} ({kind})", its.breaker.state, its.breaker.why, preferred=place == 0)
        for label, kind, place, its in _named(members, sources)
    ]


def show(metrics: Metrics, pool: Pool, sources: Sequence[Source]) -> None:
    """Have the metrics of every endpoint read what is known of it, whenever somebody looks."""
    for label, kind, _, its in _named(pool.members, sources):
        figures = {
            metrics.endpoint_breaker: _breaker(its),
            metrics.endpoint_error_rate: _error_rate(its),
            metrics.endpoint_latency: _latency(its),
            metrics.endpoint_head_age: _head_age(its),
            metrics.endpoint_lag: _lag(its, pool),
        }
        for gauge, figure in figures.items():
            gauge.labels(label, kind).set_function(figure)


def _named(members: Sequence[Member], sources: Sequence[Source]) -> Iterator[Place]:
    """Give each a name: two keys of one provider have the same host, the second is `host #2`."""
    kinds: dict[str, Sequence[Member | Source]] = {"http": members, "ws": sources}
    for kind, endpoints in kinds.items():
        known: Counter[str] = Counter()
        for place, its in enumerate(endpoints):
            known[its.label] += 1
            again = f" #{known[its.label]}" if known[its.label] > 1 else ""
            yield its.label + again, kind, place, its


def _breaker(its: Member | Source) -> Callable[[], float]:
    return lambda: BREAKER[its.breaker.state]


def _error_rate(its: Member | Source) -> Callable[[], float]:
    return lambda: its.health.error_rate


def _latency(its: Member | Source) -> Callable[[], float]:
    return lambda: its.health.latency or math.nan


def _head_age(its: Member | Source) -> Callable[[], float]:
    return lambda: _known(its.health.head_age)


def _lag(its: Member | Source, pool: Pool) -> Callable[[], float]:
    return lambda: _known(pool.lag(its) if isinstance(its, Member) else its.health.behind)


def _known(figure: float | None) -> float:
    return math.nan if figure is None else figure
