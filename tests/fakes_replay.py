"""A small market, and recordings of it."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chimera.domain.block import Address, Block, BlockBatch, BlockHash, Log, Rollback
from chimera.domain.call import BoundedCall, Call, Slot
from chimera.domain.market import Account, Market
from chimera.domain.opportunity import Streak
from chimera.replay.frames import End, Frame, Heard, Shelved, Start, Taken
from chimera.replay.recording import Followed, Header, Tape

ALICE, BOB, TOKEN = Address(b"\xa1" * 20), Address(b"\xb0" * 20), Address(b"\x70" * 20)


@dataclass(frozen=True, slots=True)
class Stall(Market):
    prices: Mapping[Address, int | None]
    open: bool = True
    known: dict[int, int] = field(default_factory=dict, init=False, compare=False)


MARKETS: dict[str, type[Market]] = {"stall": Stall}


def block(number: int, branch: int = 0) -> Block:
    def named(height: int, of: int) -> BlockHash:
        return BlockHash(height.to_bytes(31, "big") + bytes([of]))

    return Block(number, named(number, branch), named(number - 1, branch), 1_000 + 2 * number)


def batch(number: int, size: int = 1) -> BlockBatch:
    log = Log(TOKEN, (b"\x01" * 32,), number.to_bytes(32 * size, "big"), 3, number)
    readings = {
        Call(TOKEN, b"\x01\x02"): number.to_bytes(32, "big"),
        Slot(TOKEN, bytes(32)): bytes(32),
        BoundedCall(TOKEN, b"\x05", 50_000): None,
    }
    return BlockBatch(block(number), (log,), readings, arrived_ns=7, sealed_ns=8)


def start(number: int = 100) -> Start:
    accounts = {
        ALICE: Account({TOKEN: 2**200}, {TOKEN: 5}, frozenset({TOKEN}), 1, 90, {TOKEN: 1}),
        BOB: Account(),
    }
    shelf = Shelved(Stall({TOKEN: 10**30, ALICE: None}), accounts, complete=True)
    return Start(block(number), {("stall", ALICE): Streak(99, 2)}, [], (), {"stall": shelf})


def header() -> Header:
    return Header(
        chain_id=7,
        chain_name="test",
        confirmation_blocks=2,
        protocols=[Followed("stall", "stalls", "0x" + "11" * 20, 5)],
        began={"utc": "2026-01-02T03:04:05.000006+00:00", "monotonic_ns": 9},
    )


FRAMES: list[Frame] = [
    Heard(10, {"event": "connected"}),
    Taken(batch(101), 11),
    Taken(batch(102), 12, {"stall": (ALICE,)}, ("stall",)),
    Taken(Rollback(block(101)), 13),
    Taken(batch(102), 14),
]


def write(path: Path, frames: list[Frame] | None = None, *, end: End | None = None) -> Path:
    tape = Tape(path, header(), MARKETS)
    tape.begin(start())
    for frame in FRAMES if frames is None else frames:
        tape.add(frame)
    if end is None:
        tape.close()
    else:
        tape.end(end)
    return path


def changed_line(path: Path, number: int, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write the file again with one line changed, its checksum fitting."""
    lines = gzip.decompress(path.read_bytes()).splitlines()
    document = json.loads(lines[number][9:])
    change(document)
    text = json.dumps(document).encode()
    lines[number] = b"%08x %s" % (zlib.crc32(text), text)
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    return path
