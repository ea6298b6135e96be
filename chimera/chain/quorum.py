"""A second opinion on sealed blocks: another endpoint is asked for the same logs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from chimera.domain.block import Block, BlockHash, Log, LogQuery
from chimera.errors import ChimeraError, Retry
from chimera.ports import ChainReader
from chimera.rpc.breaker import Breaker

MOST_TRIES = 3  # times that one block is asked for anew while the endpoints cannot be reconciled
PATIENCE = 1.0  # seconds for one opinion: who is slow, or late with a block, holds up nobody
REST = 10.0  # seconds that who had no opinion is left unasked, to begin with
ASK_AGAIN = 0.1  # seconds, while it does not have the block yet

Opinion = tuple[Block, tuple[Log, ...] | None]
"""What somebody says a block is; None for the logs of a header that differs already."""


@dataclass(frozen=True, slots=True)
class Witness:
    """Somebody to ask: an endpoint's public name, a reader of it alone, and how to avoid it."""

    label: str
    reader: ChainReader
    avoid: Callable[[str], None] = lambda _why: None  # told why, as a sentence


class Quorum:
    """
    Lets a block pass once a second endpoint tells the same about it, or nobody else can be asked.

    `witnesses` returns who works: the endpoint in use first, then the others, the preferred first.
    Where the second differs, the next are asked until two tell the same, and the block is what
    those two say. If they agree with what was sealed, it passes; if not, it is read anew, for the
    endpoint in use is then avoided like any other that is outvoted.

    Where no two agree, nobody can know who is right: the block is read anew, up to `MOST_TRIES`
    times. If that does not settle it, the daemon goes on with the endpoint in use, and `dispute`
    says so until a block is agreed upon again.

    A witness without an opinion is left unasked for a while, longer each time: one that is always
    late does not cost its patience at every block. Blocks that nobody else could be asked about
    meanwhile pass unchecked.

    `on_difference` is told who was outvoted, or, of a disagreement that nobody settles, the second
    endpoint; `on_unchecked` of a block nobody else could vouch for. `clock` is in seconds.
    """

    def __init__(
        self,
        witnesses: Callable[[], Sequence[Witness]],
        *,
        on_difference: Callable[[str], None] = lambda _label: None,
        on_unchecked: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dispute: str | None = None
        self._witnesses = witnesses
        self._on_difference, self._on_unchecked = on_difference, on_unchecked
        self._block: BlockHash | None = None
        self._tries = 0
        self._clock = clock
        self._rests: dict[str, Breaker] = {}  # of who had no opinion once, by label
        self._log = structlog.get_logger()

    async def confirm(self, block: Block, query: LogQuery, logs: tuple[Log, ...]) -> None:
        """
        Ask the others until two tell the same.

        Raises:
            Retry: It is not settled, or two others outvote what was sealed: read the block anew
                before it is applied.
        """
        if self._block != block.hash:
            self._block, self._tries = block.hash, 0
        told: list[tuple[Witness, Opinion]] = []
        in_use, others = self._ranked()
        for witness in others:
            opinion = await self._opinion(witness, block, query)
            if opinion is None:
                continue
            if opinion == (block, logs):
                self._outvote([its for its, _ in told], block)
                self.dispute = None
                return
            if opinion in (other for _, other in told):
                minority = [its for its, other in told if other != opinion]
                # Another may have come into use since the block was read: it said nothing wrong.
                if in_use is not None and await self._opinion(in_use, block, query) != opinion:
                    minority.append(in_use)
                self._outvote(minority, block)
                raise Retry(f"block {block.number}: two other endpoints tell another one alike")
            told.append((witness, opinion))
        if told:
            self._leave_open(told[0][0], block)
            return
        self._on_unchecked()
        self.dispute = f"block {block.number} was checked by no second endpoint"

    def _ranked(self) -> tuple[Witness | None, list[Witness]]:
        """Return who is in use, and whom to ask: those who had no opinion lately come last."""
        working = self._witnesses()
        awake = [its for its in working[1:] if self._rest_of(its).seconds_left == 0]
        others = sorted(awake, key=lambda witness: self._rest_of(witness).state != "closed")
        return next(iter(working), None), others

    def _rest_of(self, witness: Witness) -> Breaker:
        if witness.label not in self._rests:
            breaker = Breaker(first_rest=REST, proofs=1, clock=self._clock)
            self._rests[witness.label] = breaker
        return self._rests[witness.label]

    async def _opinion(self, witness: Witness, block: Block, query: LogQuery) -> Opinion | None:
        """Return what somebody else says the block is; None when he cannot say."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    theirs = await witness.reader.block_of(block.hash)
                    if theirs is not None:
                        break
                    await asyncio.sleep(ASK_AGAIN)
                logs = await witness.reader.logs_of(block, query) if theirs == block else None
        except (ChimeraError, TimeoutError) as fault:
            why = str(fault) or "no answer in time"
            self._log.info("no_second_opinion", endpoint=witness.label, fault=why)
            pause = fault.pause if isinstance(fault, Retry) else 0.0
            self._rest_of(witness).failed(why, pause=pause)
            return None
        self._rest_of(witness).proved()
        return theirs, logs

    def _outvote(self, minority: Sequence[Witness], block: Block) -> None:
        for witness in minority:
            self._on_difference(witness.label)
            self._log.warning("endpoint_outvoted", block=block.number, endpoint=witness.label)
            witness.avoid(f"two others tell another block {block.number} than this one")

    def _leave_open(self, second: Witness, block: Block) -> None:
        """
        Note a disagreement that nobody settles.

        Raises:
            Retry: There is a try left.
        """
        self._tries += 1
        self._on_difference(second.label)
        said = f"block {block.number}: {second.label} tells other logs than the endpoint in use"
        self._log.warning("endpoints_differ", block=block.number, endpoint=second.label)
        if self._tries < MOST_TRIES:
            raise Retry(said)
        self.dispute = said
