"""What the house shows of itself: the facts that its condition is judged by, and its protocols."""

from __future__ import annotations

from chimera.app import endpoints
from chimera.app.build import Rooms
from chimera.app.condition import NAMES, Condition, Facts
from chimera.domain.notices import ProtocolStatus


def facts_of(rooms: Rooms) -> Facts:
    """Return what the daemon's condition is judged by."""
    processed = rooms.book.block if rooms.book.loaded else None
    sequencer = rooms.chain.sequencer
    return Facts(
        head=rooms.feed.head,
        processed=processed,
        trouble=rooms.feed.trouble,
        redis=rooms.cache.state,
        quarantined=tuple(rooms.engine.trust.quarantined),
        doors=endpoints.doors(rooms.chain.pool.members, rooms.subscription.sources),
        dispute=None if rooms.quorum is None else rooms.quorum.dispute,
        sequencer=sequencer.trouble(processed) if sequencer and processed else None,
        left_out=dict(rooms.engine.unfollowed),
        history_pending=rooms.writer.pending,
        history_waits=rooms.writer.waits,
        flags_dropped=rooms.flags.dropped,
        episodes_dropped=rooms.writer.dropped,
    )


def look(rooms: Rooms, condition: Condition) -> None:
    """Judge the daemon's condition, alert, and show what degrades it."""
    degraded = condition.look(facts_of(rooms))
    for name in NAMES:
        rooms.metrics.degraded.labels(name).set(name in degraded)


def protocols_of(rooms: Rooms) -> dict[str, ProtocolStatus]:
    """Return what /readyz says of each protocol that is followed."""
    return {name: _protocol(rooms, name) for name in rooms.book.protocols}


def _protocol(rooms: Rooms, name: str) -> ProtocolStatus:
    reconciled = {} if rooms.reconciler is None else rooms.reconciler.last_blocks
    return ProtocolStatus(
        accounts=len(rooms.book.keys(name)),
        borrowers=len(rooms.book.open_keys(name)),
        last_reconciled_block=reconciled.get(name),
        mismatches=rooms.engine.trust.mismatches[name],
        exact_within_blocks=rooms.chain.adapters[name].exact_within(rooms.book.accounts(name)),
    )
