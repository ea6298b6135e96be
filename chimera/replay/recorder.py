"""Beside a running daemon: what it takes from the feed goes to files, rotated and bounded."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import structlog

from chimera.domain.block import Block, BlockBatch, LogQuery, Rollback
from chimera.errors import Refuse
from chimera.replay.frames import Document, End, Ending, Frame, Heard, Start, Taken
from chimera.replay.recording import Header, Markets, Tape

UNDO_WINDOW = 64  # blocks; a reorg takes back so many at most
MOST_PENDING = 10_000  # frames that wait for the disk
AGAIN_AFTER = 30.0  # seconds after the disk failed
CLOSING_SECONDS = 1.0  # of the five in which the daemon has to stop
MEBIBYTE = 1 << 20

E = TypeVar("E")
Said_co = TypeVar("Said_co", covariant=True)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Bounds:
    """
    How much is kept. A file ends `overlap` blocks after it has reached `size`.

    Attributes:
        size: Bytes of one file.
        keep: Bytes of all files; the oldest go first. Those being written always stay.
        overlap: Blocks that stand at the end of one file and at the beginning of the next, so that
            whatever a reorg takes back is in the same file as the reorg.
    """

    size: int = 64 * MEBIBYTE
    keep: int = 1024 * MEBIBYTE
    overlap: int = UNDO_WINDOW


class _Running:
    """One tape and what stands before it in the line of work; the tape is the writer's alone."""

    def __init__(self, path: Path, first: Block) -> None:
        self.path = path
        self.first = first
        self.blocks = 0  # that were handed over
        self.size = 0  # bytes so far, told by the writer
        self.fault: str | None = None
        self.tape: Tape | None = None


class Recorder:
    """
    Writes recordings in a thread of its own; nothing here makes a block wait.

    What does not fit into the queue is counted: the file ends there with a gap, and the next one
    begins once there is room. A disk that fails ends the file, too.

    Args:
        folder: Where the files go; it is made.
        markets: What each protocol keeps its market in.
        header: Makes the header of a file that begins now.
        snapshot: Takes what a file begins with, between two blocks.
        bounds: How much is kept.

    Raises:
        Refuse: The folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        *,
        markets: Markets,
        header: Callable[[], Header],
        snapshot: Callable[[], Start],
        bounds: Bounds,
        most_pending: int = MOST_PENDING,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise Refuse(f"{folder} cannot be made: {fault.strerror or fault}") from fault
        self.dropped = 0
        self._folder, self._markets, self._bounds = folder, markets, bounds
        self._header, self._snapshot = header, snapshot
        self._most_pending, self._clock = most_pending, clock
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recorder")
        self._submitted = self._done = 0  # counted by the loop, by the writer
        self._last: Future[None] | None = None
        self._running: list[_Running] = []  # oldest first; two while they overlap
        self._not_before = 0  # on the clock
        self._abandoned = False

    # --- told by the feed ------------------------------------------------------------------------

    def restart(self) -> None:
        """Begin a file: the book was loaded, which no message tells."""
        self._end_all("reloaded")
        self._begin()

    def heard(self, what: Document) -> None:
        """Note what the subscription said."""
        self._add(Heard(self._clock(), what))

    def take(self, taken: Taken) -> None:
        """Note a message that is about to be applied."""
        self._give_up_failed()
        if isinstance(taken.message, Rollback):
            self._leave_branch(taken.message.ancestor)
        else:
            for running in self._running:
                running.blocks += 1
        self._add(taken)

    def applied(self, message: BlockBatch | Rollback) -> None:
        """Begin or end files, now that a message has been applied and the next is not there."""
        if isinstance(message, Rollback):
            return  # what it took away is settled by the next block
        newest = self._running[-1] if self._running else None
        if newest is None:
            if self._clock() >= self._not_before and self._pending < self._most_pending // 2:
                self._begin()
        elif len(self._running) > 1:
            if newest.blocks >= self._bounds.overlap:
                self._end(self._running.pop(0), "rotated")
        elif newest.size >= self._bounds.size and newest.blocks >= self._bounds.overlap:
            self._begin()

    def close(self) -> None:
        """Write what is pending and end the file, as far as there is time."""
        self._end_all("stopped")
        try:
            if self._last is not None:
                self._last.result(CLOSING_SECONDS)
        except TooLate:
            self._abandoned = True
            log.warning("recording_cut_off", pending=self._pending)
        self._writer.shutdown(wait=False, cancel_futures=True)

    # --- handing over ----------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        """What the clock of the recording says."""
        return self._clock()

    def _begin(self) -> None:
        start, header = self._snapshot(), self._header()
        running = _Running(self._folder / _name(header, start), start.block)
        self._running.append(running)
        self._submit(functools.partial(self._open, running, header, start))
        log.info(
            "recording",
            file=running.path.name,
            from_block=start.block.number,
            not_recorded=self.dropped,
        )

    def _add(self, frame: Frame) -> None:
        if self._running and self._pending >= self._most_pending:
            log.warning("recording_has_a_gap", pending=self._pending, done="a new file will begin")
            self._end_all("gap")
        if not self._running:
            self.dropped += 1
        for running in self._running:
            self._submit(functools.partial(self._write, running, frame))

    def _leave_branch(self, ancestor: Block) -> None:
        """End files that begin above the ancestor: they do not know what was before."""
        while self._running and ancestor.number < self._running[-1].first.number:
            running = self._running.pop()
            if self._running:  # the older one has all of it
                self._submit(functools.partial(self._discard, running))
            else:
                self._end(running, "reorg")

    def _end_all(self, reason: Ending) -> None:
        while self._running:
            self._end(self._running.pop(), reason)

    def _end(self, running: _Running, reason: Ending) -> None:
        self._submit(functools.partial(self._finish, running, End(reason)))

    def _give_up_failed(self) -> None:
        failed = [running for running in self._running if running.fault is not None]
        for running in failed:
            self._running.remove(running)
            self._not_before = self._clock() + int(AGAIN_AFTER * 1e9)
            log.error(
                "recording_failed",
                file=running.path.name,
                reason=running.fault,
                done=f"another file begins after {AGAIN_AFTER:g} s; the daemon goes on",
            )

    @property
    def _pending(self) -> int:
        return self._submitted - self._done

    def _submit(self, work: Callable[[], None]) -> None:
        self._submitted += 1
        self._last = self._writer.submit(self._do, work)

    # --- in the writer's thread ------------------------------------------------------------------

    def _do(self, work: Callable[[], None]) -> None:
        try:
            if not self._abandoned:
                work()
        finally:
            self._done += 1

    def _open(self, running: _Running, header: Header, start: Start) -> None:
        def work() -> None:
            self._make_room(header)
            running.tape = Tape(running.path, header, self._markets)
            running.tape.begin(start, stop=lambda: self._abandoned)
            if self._abandoned:
                running.tape.close()

        self._sure(running, work)

    def _write(self, running: _Running, frame: Frame) -> None:
        tape = running.tape
        if tape is not None:
            self._sure(running, lambda: tape.add(frame))

    def _finish(self, running: _Running, end: End) -> None:
        tape = running.tape
        if tape is not None:
            self._sure(running, lambda: tape.end(end))
            running.tape = None

    def _discard(self, running: _Running) -> None:
        self._finish(running, End("reorg"))
        running.path.unlink(missing_ok=True)

    def _sure(self, running: _Running, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, TypeError, ValueError) as fault:  # a disk, or a value without a shape
            running.fault = str(fault)
            if running.tape is not None:
                running.tape.close()
                running.tape = None
        else:
            running.size = 0 if running.tape is None else running.tape.size

    def _make_room(self, header: Header) -> None:
        """Delete the oldest recordings of this chain until the next file fits."""
        writing = {running.path for running in self._running}
        found = sorted(self._folder.glob(_pattern(header)))
        sizes = {path: path.stat().st_size for path in found}
        room = self._bounds.keep - self._bounds.size
        for path in found:
            if sum(sizes.values()) <= room:
                return
            if path not in writing:
                path.unlink(missing_ok=True)
                del sizes[path]


class Following(Protocol):
    """A feed, as far as it is recorded."""

    def follow(self, start: Block) -> AsyncGenerator[BlockBatch | Rollback, None]:
        """Yield everything after `start`; see `ports.Feed`."""


class RecordedFeed:
    """
    A feed whose messages are recorded as they are taken; everything else it passes on.

    The consumer has applied a message when it asks for the next one: then, and before the first, a
    recording may begin.
    """

    def __init__(
        self,
        inner: Following,
        recorder: Recorder,
        taken: Callable[[BlockBatch | Rollback, int], Taken],
    ) -> None:
        self._inner, self._recorder, self._taken = inner, recorder, taken

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (whatever the feed has)
        return getattr(self._inner, name)

    async def follow(self, start: Block) -> AsyncGenerator[BlockBatch | Rollback, None]:
        """Yield what the feed yields; see `ports.Feed`."""
        recorder = self._recorder
        recorder.restart()
        async with aclosing(self._inner.follow(start)) as messages:
            async for message in messages:
                recorder.take(self._taken(message, recorder.now_ns))
                yield message
                recorder.applied(message)


class Announcing(Protocol[Said_co]):
    """A subscription, as far as it is overheard."""

    def watch(self, query: LogQuery) -> None:
        """Ask for these logs to be announced as well."""

    def listen(self) -> AsyncGenerator[Said_co, None]:
        """Yield announcements, for ever."""


class Overheard(Generic[E]):
    """A subscription whose announcements somebody else is told, too."""

    def __init__(self, inner: Announcing[E], tell: Callable[[E], None]) -> None:
        self._inner, self._tell = inner, tell

    def watch(self, query: LogQuery) -> None:
        """Ask for these logs to be announced as well."""
        self._inner.watch(query)

    async def listen(self) -> AsyncGenerator[E, None]:
        """Yield announcements, for ever."""
        async with aclosing(self._inner.listen()) as events:
            async for event in events:
                self._tell(event)
                yield event


def _name(header: Header, start: Start) -> str:
    when = datetime.fromisoformat(header.began["utc"])
    return f"chimera-{header.chain_id}-{when:%Y%m%dT%H%M%S.%fZ}-{start.block.number}.jsonl.gz"


def _pattern(header: Header) -> str:
    return f"chimera-{header.chain_id}-*.jsonl.gz"


def clocks() -> dict[str, Any]:
    """Return both clocks as they are now, for a header."""
    return {
        "utc": datetime.now(UTC).isoformat(timespec="microseconds"),
        "monotonic_ns": time.monotonic_ns(),
    }
