"""Where a daemon that starts, or whose mirror failed, goes on."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from chimera.domain.block import Block
from chimera.domain.opportunity import Checkpoint
from chimera.errors import Rebuild
from chimera.ports import ChainReader
from chimera.state.rebuild import drive
from chimera.state.valuation import Adapters

log = structlog.get_logger()


async def resume_point(
    reader: ChainReader,
    checkpoints: Iterable[Checkpoint],
    adapters: Adapters,
    *,
    most_behind: int,
) -> tuple[Block, Checkpoint | None]:
    """
    Return the block to load the book at, and the checkpoint it comes from.

    That is the newest checkpoint which is still canonical and whose state the node still answers,
    so that every block since is read and no streak breaks; else the head, without a checkpoint.

    Args:
        reader: The chain.
        checkpoints: Those that are remembered, newest first.
        adapters: The protocols that will be loaded.
        most_behind: How many blocks behind the head a checkpoint is still worth going back to:
            after a longer outage, reading the state at the head is quicker than all blocks since.

    Raises:
        Retry: The node fails, which says nothing about what it still knows.
    """
    head = await reader.head()
    for checkpoint in checkpoints:
        block = checkpoint.block
        if head.number - block.number > most_behind:
            log.warning(
                "outage_too_long",
                last_block=block.number,
                head=head.number,
                most_behind=most_behind,
                done="the state is read at the head, streaks begin anew",
            )
            break
        if await reader.block_at(block.number) != block:
            continue
        try:
            await _probe(reader, adapters, block)
        except Rebuild as error:
            log.warning("checkpoint_state_gone", block=block.number, error=str(error))
            continue
        return block, checkpoint
    return head, None


async def _probe(reader: ChainReader, adapters: Adapters, block: Block) -> None:
    for adapter in adapters.values():
        await drive(adapter.prove(), reader, block)
        return
