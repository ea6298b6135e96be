"""A second opinion on sealed blocks: another endpoint is asked for the same logs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from chimera.domain.block import Block, BlockHash, Log, LogQuery
from chimera.errors import ChimeraError, Retry
from chimera.ports import ChainReader

MOST_TRIES = 3  # times that one block is asked for anew while two endpoints disagree
PATIENCE = 1.0  # seconds for a second opinion: who is slow, or late with a block, holds up nobody
ASK_AGAIN = 0.1  # seconds, while it does not have the block yet


@dataclass(frozen=True, slots=True)
class Witness:
    """Somebody else to ask: an endpoint's public name, and a reader of it alone."""

    label: str
    reader: ChainReader


class Quorum:
    """
    Lets a block pass once a second endpoint tells the same about it, or nobody else can be asked.

    `others` returns who works besides the endpoint in use, the preferred first. When two disagree
    about header or logs, nobody can know who is right: the whole block is read anew, up to
    `MOST_TRIES` times. If that does not settle it, the daemon goes on with the endpoint in use, and
    `dispute` says so until a block is agreed upon again. `on_difference` is told the second
    endpoint's name for every disagreement, `on_unchecked` of a block nobody else could vouch for.
    """

    def __init__(
        self,
        others: Callable[[], Sequence[Witness]],
        *,
        on_difference: Callable[[str], None] = lambda _label: None,
        on_unchecked: Callable[[], None] = lambda: None,
    ) -> None:
        self.dispute: str | None = None
        self._others = others
        self._on_difference, self._on_unchecked = on_difference, on_unchecked
        self._block: BlockHash | None = None
        self._tries = 0
        self._log = structlog.get_logger()

    async def confirm(self, block: Block, query: LogQuery, logs: tuple[Log, ...]) -> None:
        """
        Ask the others until one has an opinion.

        Raises:
            Retry: It differs: read the block anew before it is applied.
        """
        if self._block != block.hash:
            self._block, self._tries = block.hash, 0
        for witness in self._others():
            agrees = await self._opinion(witness, block, query, logs)
            if agrees is None:
                continue
            if agrees:
                self.dispute = None
            else:
                self._differs(witness, block)
            return
        self._on_unchecked()
        self.dispute = f"block {block.number} was checked by no second endpoint"

    async def _opinion(
        self, witness: Witness, block: Block, query: LogQuery, logs: tuple[Log, ...]
    ) -> bool | None:
        """Tell whether somebody else has the same block; None when he cannot say."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    theirs = await witness.reader.block_of(block.hash)
                    if theirs is not None and theirs != block:
                        return False
                    if theirs is not None:
                        return await witness.reader.logs_of(block, query) == logs
                    await asyncio.sleep(ASK_AGAIN)
        except (ChimeraError, TimeoutError) as fault:
            self._log.info("no_second_opinion", endpoint=witness.label, fault=str(fault))
            return None

    def _differs(self, witness: Witness, block: Block) -> None:
        self._tries += 1
        self._on_difference(witness.label)
        said = f"block {block.number}: {witness.label} tells other logs than the endpoint in use"
        self._log.warning("endpoints_differ", block=block.number, endpoint=witness.label)
        if self._tries < MOST_TRIES:
            raise Retry(said)
        self.dispute = said
