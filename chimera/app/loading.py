"""Where the daemon goes on, and the book loaded there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chimera.app.build import Rooms
from chimera.domain.block import Block
from chimera.domain.opportunity import Checkpoint, Observation
from chimera.state.resuming import resume_point


class Loaded(NamedTuple):
    """
    A loaded book.

    Attributes:
        block: Where it stands.
        checkpoint: The checkpoint of that block; None where streaks begin anew.
        observation: The block as detection sees it.
    """

    block: Block
    checkpoint: Checkpoint | None
    observation: Observation


async def load_mirror(rooms: Rooms, checkpoints: Sequence[Checkpoint], *, recall: bool) -> Loaded:
    """
    Load the book at the newest checkpoint that the node still knows, else at the head.

    With `recall`, take the accounts from the snapshot file where it can be believed, and go on from
    its block.

    Raises:
        Retry, Rebuild: The node failed, or forgot the block meanwhile: another attempt may succeed.
    """
    reader = rooms.chain.reader
    block, checkpoint = await resume_point(
        reader,
        checkpoints,
        rooms.chain.adapters,
        most_behind=rooms.settings.rpc.max_backfill_blocks,
    )
    if checkpoint is None:  # discovery may take so long that this block's state is gone
        await rooms.bootstrap.search(block)
        block = await reader.head()
    elif recall:
        recalled = await rooms.snapshots.recall(reader, checkpoint, checkpoints)
        if recalled is not None:
            own, snapshot = recalled
            await rooms.bootstrap.load(own.block, remembered=snapshot.protocols)
            observation = rooms.engine.adopt()
            if await rooms.snapshots.agrees():
                return Loaded(own.block, own, observation)
    await rooms.bootstrap.load(block)
    return Loaded(block, checkpoint, rooms.engine.adopt())
