"""`chimera record`: the daemon with a recorder beside it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from chimera.app.build import Rooms, build_rooms
from chimera.app.daemon import Daemon
from chimera.app.heartbeat import Progress
from chimera.domain.block import BlockBatch, Rollback
from chimera.domain.market import Market
from chimera.errors import Refuse
from chimera.ports import Adapter
from chimera.replay.codec import written_bytes
from chimera.replay.frames import (
    Document,
    Shelved,
    Start,
    Taken,
    written_block,
    written_log,
)
from chimera.replay.recorder import Bounds, RecordedFeed, Recorder, clocks
from chimera.replay.recording import Followed, Header, shapes
from chimera.rpc.announcements import (
    Connected,
    Disconnected,
    Event,
    NewHead,
    NewLogs,
    Probed,
    Silent,
)
from chimera.settings import Settings

# --- recording -----------------------------------------------------------------------------------


async def record(
    settings: Settings,
    folder: Path,
    *,
    size: int,
    keep: int,
    progress: Progress | None = None,
) -> None:
    """
    Run the daemon until it is told to stop, and write what it takes from the feed to `folder`.

    `size` and `keep` are in bytes: of one file, and of all of them.

    Raises:
        Refuse: The folder cannot be made, or a family keeps what cannot be written; else as `run`.
    """
    heard: list[Recorder] = []

    def overhear(event: Event) -> None:
        for recorder in heard:
            for document in said(event):
                recorder.heard(document)

    rooms = build_rooms(settings, progress=progress, overheard=overhear)
    markets = markets_of(rooms.chain.adapters)
    try:
        shapes(markets)
    except TypeError as fault:
        raise Refuse(f"this cannot be recorded: {fault}") from fault
    recorder = Recorder(
        folder,
        markets=markets,
        header=functools.partial(header_of, settings),
        snapshot=functools.partial(snapshot, rooms),
        bounds=Bounds(size, keep),
    )
    heard.append(recorder)
    rooms.feed = RecordedFeed(rooms.feed, recorder, functools.partial(_taken, rooms))
    try:
        await Daemon(rooms).run()
    finally:
        recorder.close()


def snapshot(rooms: Rooms) -> Start:
    """Take everything as it stands between two blocks; accounts are immutable, so it is cheap."""
    book, detector = rooms.book, rooms.detector
    checkpoint = detector.checkpoint()
    shelves = {
        name: Shelved(
            book.market(name), dict(book.accounts(name).users), book.accounts(name).complete
        )
        for name in book.protocols
    }
    return Start(
        block=book.block,
        streaks={} if checkpoint is None else checkpoint.streaks,
        episodes=[*detector.open_opportunities(), *detector.unsettled()],
        held=list(rooms.engine.trust.quarantined),
        shelves=shelves,
    )


def _taken(rooms: Rooms, message: BlockBatch | Rollback, at_ns: int) -> Taken:
    trust = rooms.engine.trust
    mistrusted = {name: trust.to_read(name) for name in rooms.book.protocols}
    return Taken(message, at_ns, mistrusted, list(trust.quarantined))


def header_of(settings: Settings) -> Header:
    """Return what a recording says of the configuration: nothing about nodes."""
    return Header(
        chain_id=settings.chain.id,
        chain_name=settings.chain.name,
        confirmation_blocks=settings.detection.confirmation_blocks,
        protocols=[
            Followed(
                its.name,
                its.kind,
                its.address,
                its.from_block,
                its.markets,
                suppliers=its.suppliers,
            )
            for its in settings.protocols
        ],
        began=clocks(),
    )


def markets_of(adapters: Mapping[str, Adapter[Any]]) -> dict[str, type[Market]]:
    """Return what every adapter keeps its market in: the result of its `read_market`."""
    found = {}
    for name, adapter in adapters.items():
        inquiry = get_type_hints(type(adapter).read_market)["return"]
        found[name] = get_args(inquiry)[-1]
    return found


def said(event: Event) -> Iterator[Document]:
    """Return what the subscription said as a recording has it."""
    match event:
        case NewHead(block):
            yield {"event": "head", "block": written_block(block), "arrived": event.arrived_ns}
        case NewLogs(block_hash, logs, removed):
            for log in logs:
                yield {
                    "event": "log",
                    "block_hash": written_bytes(block_hash),
                    "log": written_log(log),
                    "removed": removed,
                }
        case Probed(number):
            yield {"event": "probed", "number": number}
        case Silent():
            yield {"event": "silent"}
        case Connected():
            yield {"event": "connected"}
        case Disconnected():
            yield {"event": "disconnected"}
