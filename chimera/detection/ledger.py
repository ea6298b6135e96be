"""The episodes as the HTTP API reads them: open ones fresh, closed ones remembered."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from operator import itemgetter

from chimera.detection.detector import OpportunityDetector
from chimera.detection.episodes import Outcome, reckoned
from chimera.domain.market import Key, instance_of
from chimera.domain.opportunity import Opportunity
from chimera.errors import BadCursor

Place = tuple[int, str]
"""(flagged block, id): where an episode stands in the listing, whatever arrives later."""


class OpportunityLedger:
    """
    List every open episode of a detector, and the newest of those that it closed.

    Args:
        detector: Whose open episodes are listed, with their values at its newest block.
        keep: How many closed episodes are remembered; the earliest closed are forgotten first.
    """

    def __init__(self, detector: OpportunityDetector, *, keep: int = 10_000) -> None:
        self._detector = detector
        self._keep = keep
        self._closed: dict[str, Outcome | Opportunity] = {}

    def record(self, changed: Iterable[Outcome | Opportunity]) -> None:
        """
        Take in what `decide`, `observe` or `rollback` returned.

        What was not reckoned then is to be recorded again when it is: it holds on to its block.
        """
        for opportunity in changed:
            self._closed.pop(opportunity.id, None)
            if opportunity.state == "closed":
                self._closed[opportunity.id] = opportunity
        while len(self._closed) > self._keep:
            del self._closed[next(iter(self._closed))]

    def restore(self, opportunities: Iterable[Opportunity]) -> None:
        """Take over stored episodes that are closed; call it after the detector's `restore`."""
        ongoing = {opportunity.id for opportunity in self._detector.open_opportunities()}
        closed = [o for o in opportunities if o.state == "closed" and o.id not in ongoing]
        self._closed.clear()
        closed.sort(key=lambda o: (o.closed_block or 0, o.id))
        self.record(closed)

    def episodes(self) -> list[Opportunity]:
        """Return every remembered episode, as `restore` takes them."""
        closed = map(reckoned, self._closed.values())
        return [*closed, *self._detector.open_opportunities()]

    def page(
        self, *, state: str | None, protocol: str | None, limit: int, cursor: str | None
    ) -> tuple[int, list[Opportunity], str | None]:
        """
        Return (block, items, next cursor), the last flagged first.

        A cursor names the last item of its page, so episodes that arrive meanwhile move nothing.

        Raises:
            BadCursor: It is not one of ours.
        """
        after = None if cursor is None else _place_of(cursor)
        wanted = sorted(
            (
                (place, known)
                for place, name, known in self._listed(state)
                if protocol in (None, name, instance_of(name)) and (after is None or place < after)
            ),
            key=itemgetter(0),
            reverse=True,
        )
        items = [self._episode(known) for _, known in wanted[:limit]]
        more = items and len(wanted) > limit
        newest = self._detector.newest
        return (
            0 if newest is None else newest.number,
            items,
            _cursor(items[-1]) if more else None,
        )

    def _listed(
        self, state: str | None
    ) -> Iterator[tuple[Place, str, Key | Outcome | Opportunity]]:
        """Yield place and protocol of every episode; an open one by its account, not reckoned."""
        if state != "open":
            for its in self._closed.values():
                yield (its.flagged_block, its.id), its.protocol, its
        if state != "closed":
            for flagged, identity, key in self._detector.places():
                yield (flagged, identity), key[0], key

    def _episode(self, known: Key | Outcome | Opportunity) -> Opportunity:
        return self._detector.opportunity(known) if isinstance(known, tuple) else reckoned(known)


def _cursor(last: Opportunity) -> str:
    return urlsafe_b64encode(f"{last.flagged_block}:{last.id}".encode()).decode()


def _place_of(cursor: str) -> Place:
    try:
        block, identity = urlsafe_b64decode(cursor.encode("ascii")).decode("ascii").split(":")
        return int(block), identity
    except ValueError as error:  # bad base64, bad text, bad number: all of them are ValueErrors
        raise BadCursor(f"{cursor!r} is not a cursor of this listing") from error
