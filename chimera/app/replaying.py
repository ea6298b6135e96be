"""`chimera replay`: a recording through the same book and detector, without a node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from pathlib import Path

from pydantic import ValidationError

from chimera.app.build import build_rooms
from chimera.app.path import BlockPath
from chimera.app.recording import markets_of, snapshot
from chimera.domain.block import Address, Rollback
from chimera.domain.market import Holder, Key
from chimera.domain.opportunity import Checkpoint, Opportunity
from chimera.errors import Rebuild, Refuse
from chimera.publish.fanout import FlagStream
from chimera.registry import families
from chimera.replay.frames import Document, Heard, Taken, digest
from chimera.replay.player import paced
from chimera.replay.recording import Damaged, Header, Recording
from chimera.settings import Settings
from chimera.settings.models import (
    ChainSettings,
    DetectionSettings,
    HistorySettings,
    HttpSettings,
    ProtocolSettings,
    ReconcileSettings,
    RedisSettings,
    RpcSettings,
)
from chimera.state.publisher import CachePublisher
from chimera.state.trust import Trust
from chimera.store.writer import HistoryWriter

NOWHERE = "localhost"  # a replay asks nobody


async def replay(
    path: Path, *, speed: Decimal | None = None, heard: bool = False
) -> AsyncIterator[Document]:
    """
    Feed a recording through book and detector; yield each flag, then what came of it.

    A flag is `{event: "flagged" | "closed", block, flag}`; with `heard`, what the subscription said
    comes as `{event: "heard", ...}`. The last document is `{event: "end", ...}`.

    Args:
        path: The file.
        speed: How many times as fast as it was; None: as fast as possible.
        heard: Yield also what the subscription said.

    Raises:
        Refuse: The file cannot be read, or is of another version.
        Damaged: It is not what was written; the flags before the damage have been yielded.
    """
    recording = Recording(path)
    player = Player(recording)
    try:
        await player.begin()
        async for frame in paced(recording.frames(), speed):
            if isinstance(frame, Taken):
                for told in await player.take(frame):
                    yield told
            elif isinstance(frame, Heard):
                if heard:
                    yield {"event": "heard", "what": frame.what}
            else:
                player.ended = frame.reason
        yield player.outcome()
    finally:
        await player.rooms.chain.close()


class Player:
    """
    The path of a block, without anything around it.

    Attributes:
        rooms: Of which only book, engine and detector do anything.
        ended: Why the recording ends.

    Raises:
        Refuse: The recording follows what cannot be followed here, such as an unknown family.
    """

    def __init__(self, recording: Recording) -> None:
        self.ended = "cut off"
        self._recording = recording
        self.rooms = build_rooms(_settings(recording))
        self._trust = RecordedTrust()
        self._flags = Collected("", chain_id=recording.header.chain_id)
        self.rooms.engine.trust = self._trust
        self.rooms.flags = self._flags
        self.rooms.writer = Unwritten(self.rooms.history)
        self.rooms.publisher = Unpublished(self.rooms.cache, self.rooms.engine.mirror)
        self._markets = markets_of(self.rooms.chain.adapters)
        self._path = BlockPath(self.rooms)
        self._first = self._blocks = self._rollbacks = self._opened = self._closed = 0
        self._misfit: Rebuild | None = None

    async def begin(self) -> None:
        """Load what the recording begins with, as the daemon does after it has read the chain."""
        rooms = self.rooms
        start = self._recording.start(self._markets)
        for name, shelf in start.shelves.items():
            rooms.book.load(
                name, shelf.market, shelf.accounts, complete=shelf.complete, block=start.block
            )
        self._trust.held = start.held
        rooms.detector.restore(start.episodes, Checkpoint(start.block, start.streaks))
        rooms.ledger.restore(start.episodes)
        self._path.decide(rooms.engine.adopt())
        self._path.note(start.block)
        self._first = start.block.number

    async def take(self, taken: Taken) -> list[Document]:
        """
        Apply one message; return the flags that it changed, in an order that is always the same.

        Raises:
            Damaged: The daemon went on where this does not.
        """
        if self._misfit is not None:
            raise Damaged(f"{self._recording.path} cannot be replayed: {self._misfit}")
        self._trust.mistrusted = taken.mistrusted
        if list(self._trust.held) != list(taken.held):
            self._trust.held = taken.held
            await self._path.look_again()
        message = taken.message
        try:
            await self._path.take(message)
        except Rebuild as fault:  # the daemon read its book anew here, and the recording ends
            self._misfit = fault
            return []
        if isinstance(message, Rollback):
            self._rollbacks += 1
            return [self._told(message.ancestor.number, flag) for flag in self._flags.collected()]
        self._blocks += 1
        return [self._told(message.block.number, flag) for flag in self._flags.collected()]

    def outcome(self) -> Document:
        """Return the last document: how far it went, and the state to the last digit."""
        if self._recording.is_cut_off:
            self.ended = "cut off"
        return {
            "event": "end",
            "first_block": self._first,
            "last_block": self.rooms.book.block.number,
            "blocks": self._blocks,
            "rollbacks": self._rollbacks,
            "flagged": self._opened,
            "closed": self._closed,
            "open": self.rooms.detector.open_count,
            "ended": self.ended,
            "misfit": None if self._misfit is None else str(self._misfit),
            "digest": digest(snapshot(self.rooms), self._markets),
        }

    def _told(self, block: int, flag: Opportunity) -> Document:
        is_open = flag.state == "open"
        self._opened += is_open
        self._closed += not is_open
        event = "flagged" if is_open else "closed"
        return {"event": event, "block": block, "flag": flag.document()}


class RecordedTrust(Trust):
    """What the reconciler had found, as the recording tells it."""

    def __init__(self) -> None:
        super().__init__()
        self.mistrusted: Mapping[str, Sequence[Holder]] = {}
        self.held: Sequence[str] = ()

    def to_read(self, protocol: str) -> list[Holder]:
        """Return whose accounts the next block had to read."""
        return list(self.mistrusted.get(protocol, ()))

    def read_anew(self, keys: Iterable[Key], block_number: int) -> None:
        """Note nothing: whom the next block reads is in the recording, too."""

    def rolled_back(self, block_number: int) -> None:
        """Note nothing, for the same reason."""

    @property
    def quarantined(self) -> AbstractSet[str]:
        """Markets that were in quarantine."""
        return dict.fromkeys(self.held).keys()


class Collected(FlagStream):
    """Keeps flags for whoever prints them."""

    _changed: list[Opportunity] = []  # noqa: RUF012  (replaced, never changed)

    def publish(self, opportunities: Sequence[Opportunity]) -> None:
        """Take them; a later state of an episode replaces an earlier one of the same block."""
        self._changed = [*self._changed, *opportunities]

    def collected(self) -> list[Opportunity]:
        """Return what has come since this was asked last."""
        found, self._changed = self._changed, []
        return sorted(found, key=lambda flag: (flag.protocol, flag.user, flag.id, flag.state))


class Unwritten(HistoryWriter):
    """Leaves the history alone."""

    def submit(
        self,
        checkpoint: Checkpoint | None = None,
        opportunities: Sequence[Opportunity] = (),
        users: Mapping[str, Iterable[Address]] | None = None,
        scanned_to: Mapping[str, int] | None = None,
    ) -> None:
        """Write nothing."""


class Unpublished(CachePublisher):
    """Leaves the cache alone."""

    def publish_block(self, keys: Iterable[Key], *, arrived_ns: int = 0) -> None:
        """Write nothing."""

    def publish_everything(self, *, force: bool = False) -> None:
        """Write nothing."""


def _settings(recording: Recording) -> Settings:
    header, known = recording.header, families()
    for its in header.protocols:
        if its.kind not in known:
            raise Refuse(f"{recording.path} follows {its.name!r}, of unknown kind {its.kind!r}")
    try:
        return _settings_of(header)
    except ValidationError as fault:
        why = fault.errors()[0]["msg"]
        raise Refuse(f"{recording.path} cannot be followed here: {why}") from fault


def _settings_of(header: Header) -> Settings:
    return Settings(
        chain=ChainSettings(id=header.chain_id, name=header.chain_name),
        rpc=RpcSettings(ws=(f"ws://{NOWHERE}",), http=(f"http://{NOWHERE}",)),
        redis=RedisSettings(url=""),
        history=HistorySettings(url="sqlite+aiosqlite://"),
        detection=DetectionSettings(confirmation_blocks=header.confirmation_blocks),
        reconcile=ReconcileSettings(enabled=False),
        http=HttpSettings(listen=""),
        protocols=tuple(
            ProtocolSettings(
                name=its.name,
                kind=its.kind,
                address=its.address,
                from_block=its.from_block,
                markets=None if its.markets is None else tuple(its.markets),
                suppliers=its.suppliers,
            )
            for its in header.protocols
        ),
    )
