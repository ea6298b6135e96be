"""Values of the domain as rows, and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import Row

from chimera.domain.block import Address, Block, BlockHash
from chimera.domain.market import Key
from chimera.domain.opportunity import Checkpoint, Opportunity, Streak
from chimera.errors import Unreachable

Values = dict[str, Any]
Streaks = dict[str, dict[str, tuple[int, int]]]


@contextmanager
def reading(what: str) -> Iterator[None]:
    """
    Read rows that somebody else may have written over.

    Raises:
        Unreachable: One of them is none of ours.
    """
    try:
        yield
    except (ValueError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        raise Unreachable(f"the history has {what} that cannot be read: {error}") from error


def checkpoint_row(chain_id: int, checkpoint: Checkpoint) -> Values:
    """Return the row of `checkpoints`."""
    block = checkpoint.block
    streaks: dict[str, dict[str, list[int]]] = {}
    for (protocol, user), streak in checkpoint.streaks.items():
        streaks.setdefault(protocol, {})[user.hex()] = [streak.first_block, streak.length]
    return {
        "chain_id": chain_id,
        "number": block.number,
        "hash": block.hash,
        "parent_hash": block.parent_hash,
        "timestamp": block.timestamp,
        "streaks": streaks,
    }


def checkpoint_of(row: Row[Any]) -> Checkpoint:
    """Read a row of `checkpoints` back, within `reading`."""
    block = Block(row.number, BlockHash(row.hash), BlockHash(row.parent_hash), row.timestamp)
    return Checkpoint(block, _streaks(row.streaks))


def opportunity_row(chain_id: int, opportunity: Opportunity) -> Values:
    """Return the row of `opportunities`."""
    return {
        "chain_id": chain_id,
        "id": opportunity.id,
        "protocol": opportunity.protocol,
        "user": opportunity.user,
        "state": opportunity.state,
        "flagged_block": opportunity.flagged_block,
        "closed_block": opportunity.closed_block,
        "closed_reason": opportunity.closed_reason,
        "document": opportunity.document(),
    }


def opportunity_of(row: Row[Any]) -> Opportunity:
    """Read a row of `opportunities` back, within `reading`."""
    return msgspec.convert(row.document, Opportunity)


def _streaks(document: object) -> dict[Key, Streak]:
    return {
        (protocol, Address(bytes.fromhex(user))): Streak(first, length)
        for protocol, by_user in msgspec.convert(document, Streaks).items()
        for user, (first, length) in by_user.items()
    }
