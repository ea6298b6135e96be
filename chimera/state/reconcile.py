"""The mirror compared with the contracts' own views while it runs, beside the blocks' path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from chimera.domain.block import Block
from chimera.domain.call import Call, Readings
from chimera.domain.health import Difference
from chimera.domain.market import Account, Key, Market, instance_of
from chimera.errors import ChimeraError, Retry
from chimera.observability.metrics import Metrics
from chimera.ports import ChainReader
from chimera.service import Service
from chimera.state.documents import Documents
from chimera.state.engine import StateEngine
from chimera.state.publisher import slices
from chimera.state.rebuild import Mismatch, compare_views
from chimera.state.sampling import Turns
from chimera.state.valuation import checksummed

MOST_CALLS: Final = 500  # of one multicall
MOST_LINES: Final = 10  # of the log, per comparison
SETTLED: Final = 0.5  # seconds until who differs is asked about again
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 1800.0  # seconds between attempts to get a market out again
MOST_REBUILDS: Final = 3  # for one market, until it has been left alone for
FORGIVEN: Final = 86400.0  # seconds

SILENT: Final = frozenset({"principal", "balance", "borrow balance", "is liquidatable"})
"""What a transfer without a log of ours changes, see `exact_within`."""

OUTSIDE: Final = frozenset({"price", "rate"})
"""What other contracts answer, perhaps differently each time: no rebuild can mend that."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sample:
    """Accounts as they were at one block, and what to ask the contracts about them."""

    block: Block
    generation: int
    accounts: Mapping[Key, Account]
    markets: Mapping[str, Market]
    calls: tuple[Call, ...]


class Reconciler(Service):
    """
    Compares a sample of accounts after each live block; mends what differs.

    One comparison runs at a time, always about the newest block; no block waits for it. An account
    that differs is read anew by the next block. A market with two divergences is put in quarantine,
    its protocol is rebuilt, and once all its views agree again the quarantine ends. No market gets
    more than a few rebuilds, and none if only a price or a rate differs, for anybody can make a
    market that never agrees: such a quarantine ends when everybody who differed compares clean.

    Args:
        reader: The chain; not the block path's own, so that neither slows the other down.
        engine: The mirror.
        documents: Compares the cached positions of the same accounts.
        metrics: Where everything is counted.
        within: Seconds in which every account has to be compared.
        most_calls: The most calls of one sample.
        settled: Seconds until who differs is asked about again.
        clock: Seconds of a monotonic clock.

    Attributes:
        rebuild: Reads one protocol anew between two blocks; set by the daemon.
        look_again: Makes flags and opportunities heed a quarantine; set by the daemon.
        last_blocks: Newest block at which each protocol was compared.
    """

    def __init__(
        self,
        reader: ChainReader,
        engine: StateEngine,
        documents: Documents,
        metrics: Metrics,
        *,
        within: float,
        most_calls: int = MOST_CALLS,
        settled: float = SETTLED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.rebuild: Callable[[str], Awaitable[object]] | None = None
        self.look_again: Callable[[], Awaitable[None]] | None = None
        self.last_blocks: dict[str, int] = {}
        self._reader = reader
        self._engine = engine
        self._trust = engine.trust
        self._documents = documents
        self._metrics = metrics
        self._within = within
        self._most_calls = most_calls
        self._settled = settled
        self._clock = clock
        self._turns = Turns(engine.book, engine.trust, within=within, clock=clock)
        self._due = asyncio.Event()
        # All by published market:
        self._pauses: dict[str, float] = {}  # seconds after the last attempt
        self._not_before: dict[str, float] = {}  # when the next attempt may be made
        self._rebuilds: dict[str, tuple[int, float]] = {}  # how many, and when the last was
        self._mendable: set[str] = set()  # those of which more than the outside differed

    # --- told by the block path ------------------------------------------------------------------

    def decided(self, block: Block, touched: Iterable[Key], *, live: bool) -> None:
        """Note that a block was decided; a live one is compared soon."""
        self._documents.decided(block)
        self._turns.touched(touched)
        if live:
            self._due.set()

    def begin_anew(self) -> None:
        """Note that blocks left the chain or the book was loaded: positions are written anew."""
        self._documents.settle()
        self._turns.restart()

    @property
    def age(self) -> float:
        """Seconds since every account had been compared for the last time."""
        return self._clock() - self._turns.since

    # --- comparing -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Compare until cancelled."""
        self.ready.set()
        while True:
            await self._due.wait()
            self._due.clear()
            await self.compare()
            await self.heal()

    async def compare(self) -> None:
        """Compare one sample at the book's block, and the cached positions of its accounts."""
        sample = self._sample()
        try:
            answers = await self._reader.read(sample.calls, sample.block) if sample.calls else {}
            found = await self._confirmed(sample, await self._differing(sample, answers))
        except ChimeraError as fault:  # the node failed, or no longer knows this block
            self._skip(sample, str(fault))
            return
        if not self._holds(sample):
            self._skip(sample, "the block is not ours any more")
            return
        self._note(sample, found)
        fell = self._judge(found, sample.block)
        if self._absolve() or fell:
            await self._heed()
        await self._documents.check(sample.accounts)

    def _sample(self) -> Sample:
        """Take as many accounts as one multicall can ask about, at least one."""
        book, adapters = self._engine.book, self._engine.adapters
        markets = {name: book.market(name) for name in book.protocols}
        accounts: dict[Key, Account] = {}
        calls: dict[Call, None] = {}
        for key in self._turns.candidates():
            account = book.get(key)
            if account is None:
                continue
            proof = dict.fromkeys(adapters[key[0]].proof(markets[key[0]], key[1]))
            if calls and len(calls | proof) > self._most_calls:
                break
            calls |= proof
            accounts[key] = account
        return Sample(book.block, self._trust.generation, accounts, markets, tuple(calls))

    async def _differing(self, sample: Sample, answers: Readings) -> list[Mismatch]:
        found = []
        for part in slices(list(sample.accounts)):
            for key in part:
                differences = self._engine.adapters[key[0]].differences(
                    sample.markets[key[0]], key[1], sample.accounts[key], sample.block, answers
                )
                if differences:
                    found.append(Mismatch(key, differences))
            await asyncio.sleep(0)
        return found

    async def _confirmed(self, sample: Sample, found: list[Mismatch]) -> list[Mismatch]:
        """
        Ask again about whoever differs, after a moment, and keep those who still do.

        A node may answer from the state of another block while it mines or switches branches, and
        that may take it longer than two answers.

        Raises:
            Retry: The node failed, or has another block at this height by now.
        """
        if not found:
            return found
        await asyncio.sleep(self._settled)
        if await self._reader.block_at(sample.block.number) != sample.block:
            raise Retry("the node has left this block")
        keys = [mismatch.key for mismatch in found]
        accounts = {key: sample.accounts[key] for key in keys}
        adapters, markets = self._engine.adapters, sample.markets
        proofs = (adapters[key[0]].proof(markets[key[0]], key[1]) for key in keys)
        calls = tuple(dict.fromkeys(call for proof in proofs for call in proof))
        answers = await self._reader.read(calls, sample.block)
        return await self._differing(replace(sample, accounts=accounts, calls=calls), answers)

    def _holds(self, sample: Sample) -> bool:
        """Tell whether its block is still on our chain, and the book the one it was taken from."""
        book = self._engine.book
        same = sample.generation == self._trust.generation
        return same and book.canonical(sample.block.number) == sample.block

    def _skip(self, sample: Sample, reason: str) -> None:
        self._metrics.reconcile_skipped.inc()
        log.debug("reconcile_skipped", block=sample.block.number, reason=reason)

    def _note(self, sample: Sample, found: Sequence[Mismatch]) -> None:
        """Count what was compared; what is clean again is no longer watched."""
        wrong, took = {mismatch.key for mismatch in found}, self._turns.took
        for name, _ in sample.accounts:
            self._metrics.reconciled_accounts.labels(name).inc()
        for name in {name for name, _ in sample.accounts}:
            self.last_blocks[name] = sample.block.number
            self._metrics.reconciled_block.labels(name).set(sample.block.number)
        for key in sample.accounts.keys() - wrong:
            protocol, user = self._engine.adapters[key[0]].published(key[1])
            self._trust.clean(key, protocol)
            if self._trust.agreed(key):
                log.info("account_mended", protocol=protocol, user=checksummed(user))
        self._turns.compared(sample.accounts)
        if self._turns.took != took and (self._turns.took or 0) > self._within:
            log.warning("reconcile_late", seconds=round(self._turns.took or 0), within=self._within)

    # --- when something differs ------------------------------------------------------------------

    def _judge(self, found: Sequence[Mismatch], block: Block) -> bool:
        """Have these accounts read anew; tell whether a market fell by it."""
        self._tell(found, block)
        fallen = []
        for mismatch in found:
            name, holder = mismatch.key
            adapter = self._engine.adapters[name]
            market, _ = adapter.published(holder)
            names = {its.name for its in mismatch.differences}
            late = adapter.exact_within(self._engine.book.accounts(name)) > 0
            excused = late and names <= SILENT
            if not names <= OUTSIDE:
                self._mendable.add(market)
            if self._trust.diverged(mismatch.key, market, now=self._clock(), excused=excused):
                fallen.append(market)
        for market in fallen:
            if self._clock() - self._rebuilds.get(market, (0, 0.0))[1] > FORGIVEN:
                self._rebuilds.pop(market, None)
            log.error("market_quarantined", protocol=market, reason="two accounts diverged")
        return bool(fallen)

    def _tell(self, found: Sequence[Mismatch], block: Block) -> None:
        for count, mismatch in enumerate(found):
            name, holder = mismatch.key
            self._metrics.mirror_mismatches.labels(name).inc()
            protocol, user = self._engine.adapters[name].published(holder)
            if count < MOST_LINES:
                log.error(
                    "account_diverges",
                    protocol=protocol,
                    user=checksummed(user),
                    block=block.number,
                    differences=_figures(mismatch.differences),
                )
        if len(found) > MOST_LINES:
            log.error("more_accounts_diverge", accounts=len(found) - MOST_LINES)

    async def _heed(self) -> None:
        self._metrics.markets_unverified.set(len(self._trust.quarantined))
        if self.look_again is not None:
            await self.look_again()

    def _absolve(self) -> bool:
        """End quarantines that no rebuild will end, where all agree; tell whether any did."""
        ended = []
        self._forget_the_gone()
        for market in list(self._trust.quarantined):
            if not self._may_rebuild(market) and not self._trust.wrong(market):
                self._end(market)
                ended.append(market)
        return bool(ended)

    def _forget_the_gone(self) -> None:
        """Keep nothing of accounts that are not there any more, nor of markets without fault."""
        for market in self._trust.suspected:
            for key in self._trust.wrong(market):
                if self._engine.book.get(key) is None:
                    self._trust.clean(key, market)
        self._mendable &= self._trust.suspected

    def _may_rebuild(self, market: str) -> bool:
        return market in self._mendable and self._rebuilds.get(market, (0, 0.0))[0] < MOST_REBUILDS

    def _end(self, market: str) -> None:
        self._trust.lift(market)
        self._mendable.discard(market)
        self._pauses.pop(market, None)
        self._not_before.pop(market, None)
        log.info("market_verified", protocol=market)

    def _is_due(self, market: str) -> bool:
        return self._may_rebuild(market) and self._clock() >= self._not_before.get(market, 0.0)

    async def heal(self) -> None:
        """Rebuild the protocols of markets in quarantine, those whose time has come."""
        due = [market for market in self._trust.quarantined if self._is_due(market)]
        for name in dict.fromkeys(instance_of(market) for market in due):
            if self.rebuild is None:
                continue
            await self._heal(name, self.rebuild)
            for market in due:
                if instance_of(market) == name and market in self._trust.quarantined:
                    pause = min(LONGEST_PAUSE, 2 * self._pauses.get(market, FIRST_PAUSE / 2))
                    self._pauses[market] = pause
                    self._not_before[market] = self._clock() + pause
            await self._heed()

    async def _heal(self, name: str, rebuild: Callable[[str], Awaitable[object]]) -> None:
        """Rebuild a protocol and compare all its views; end the quarantines of what agrees."""
        engine, trust = self._engine, self._trust
        held = [market for market in trust.quarantined if instance_of(market) == name]
        also = [key for market in held for key in trust.wrong(market)]
        try:
            await rebuild(name)
            self._count_rebuild(held)
            generation = trust.generation
            _, wrong = await compare_views(
                self._reader, engine.adapters, engine.book, protocol=name, also=also
            )
        except ChimeraError as fault:
            log.warning("market_stays_quarantined", protocol=name, reason=str(fault))
            return
        if generation != trust.generation:
            return
        adapter = engine.adapters[name]
        unclean = {adapter.published(mismatch.key[1])[0] for mismatch in wrong}
        self._tell(wrong, engine.book.block)
        trust.mismatches[name] += len(wrong)
        for market in held:
            if market in unclean:
                log.error("market_stays_quarantined", protocol=market, reason="it still differs")
            else:
                self._end(market)

    def _count_rebuild(self, held: Iterable[str]) -> None:
        for market in held:
            count, _ = self._rebuilds.get(market, (0, 0.0))
            self._rebuilds[market] = (count + 1, self._clock())
        self._rebuilds = {
            market: (count, last)
            for market, (count, last) in self._rebuilds.items()
            if market in self._trust.quarantined or self._clock() - last <= FORGIVEN
        }


def _figures(differences: Iterable[Difference]) -> dict[str, dict[str, str]]:
    return {its.name: {"ours": its.ours, "theirs": its.theirs} for its in differences}
