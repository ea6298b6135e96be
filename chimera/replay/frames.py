"""What a recording says, as values: how it begins, what came in, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import itemgetter
from typing import Any, Literal

from chimera.domain.block import Address, Block, BlockBatch, BlockHash, Log, Rollback
from chimera.domain.call import BoundedCall, Call, Slot
from chimera.domain.market import Account, Holder, Market
from chimera.domain.opportunity import Opportunity, Streak
from chimera.replay.codec import canonical, read_bytes, shape_of, written_bytes

CHUNK = 500  # accounts in one line
CUT_OFF = "it is cut off before its first block"

Document = dict[str, Any]
Ending = Literal["stopped", "rotated", "reloaded", "reorg", "gap"]
"""
Why a recording ends: the daemon stopped; the next file goes on; the book was read anew; a reorg
reached below its first block; frames came faster than the disk took them.
"""

CALLS: Mapping[str, type[Call]] = {"call": Call, "slot": Slot, "bounded": BoundedCall}
NAMES = {kind: name for name, kind in CALLS.items()}


@dataclass(frozen=True, slots=True)
class Shelved:
    """One protocol as it stood: the market, and everybody who was in the book."""

    market: Market
    accounts: Mapping[Holder, Account]
    complete: bool


@dataclass(frozen=True, slots=True)
class Start:
    """
    Where a recording begins, between two blocks.

    Attributes:
        block: The newest block that had been applied.
        streaks: Who was under 1, and since when.
        episodes: Those that were open, and those that the next blocks had to settle.
        held: Markets that were in quarantine.
        shelves: By protocol instance.
    """

    block: Block
    streaks: Mapping[tuple[str, Holder], Streak]
    episodes: Sequence[Opportunity]
    held: Sequence[str]
    shelves: Mapping[str, Shelved]


@dataclass(frozen=True, slots=True)
class Taken:
    """
    A message of the feed, with what the engine knew besides when it took it.

    Attributes:
        message: As the feed sealed it.
        at_ns: When it was handed over, nanoseconds of the recording machine's monotonic clock.
        mistrusted: Whose accounts this block had to read anew, by protocol instance.
        held: Markets in quarantine.
    """

    message: BlockBatch | Rollback
    at_ns: int
    mistrusted: Mapping[str, Sequence[Holder]] = field(default_factory=dict)
    held: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Heard:
    """What the subscription said: it decides nothing, and is there to be looked at."""

    at_ns: int
    what: Document


@dataclass(frozen=True, slots=True)
class End:
    """Nothing follows, for this reason."""

    reason: Ending


Frame = Taken | Heard | End


# --- as lines ------------------------------------------------------------------------------------


def start_lines(start: Start, markets: Mapping[str, type[Market]]) -> Iterator[Document]:
    """Yield the lines of a start; a large book takes many."""
    yield {
        "kind": "start",
        "block": written_block(start.block),
        "streaks": [
            [protocol, written_bytes(user), streak.first_block, streak.length]
            for (protocol, user), streak in start.streaks.items()
        ],
        "episodes": [episode.document() for episode in start.episodes],
        "held": list(start.held),
    }
    account = shape_of(Account)
    for name, shelf in start.shelves.items():
        market = shape_of(markets[name]).write(shelf.market)
        yield {"kind": "market", "protocol": name, "complete": shelf.complete, "market": market}
        holders = list(shelf.accounts)
        for first in range(0, len(holders), CHUNK):
            part = {
                written_bytes(holder): account.write(shelf.accounts[holder])
                for holder in holders[first : first + CHUNK]
            }
            yield {"kind": "accounts", "protocol": name, "accounts": part}
    yield {"kind": "begin"}


def read_start(lines: Iterator[Document], markets: Mapping[str, type[Market]]) -> Start:
    """
    Read the lines of a start.

    Raises:
        ValueError: They are not one (also LookupError, TypeError).
    """
    first = next(lines, None)
    if first is None:
        raise ValueError(CUT_OFF)
    if first.get("kind") != "start":
        raise ValueError("it does not begin with a start")
    shelves: dict[str, Shelved] = {}
    accounts: dict[str, dict[Holder, Account]] = {}
    account = shape_of(Account)
    for line in lines:
        match line:
            case {"kind": "market", "protocol": name, "complete": complete, "market": market}:
                accounts[name] = {}
                read = shape_of(markets[name]).read(market)
                shelves[name] = Shelved(read, accounts[name], complete)
            case {"kind": "accounts", "protocol": name, "accounts": part}:
                accounts[name] |= {
                    Holder(Address(read_bytes(holder))): account.read(its)
                    for holder, its in part.items()
                }
            case {"kind": "begin"}:
                return Start(
                    read_block(first["block"]),
                    {
                        (protocol, Address(read_bytes(user))): Streak(number, length)
                        for protocol, user, number, length in first["streaks"]
                    },
                    [Opportunity.from_document(episode) for episode in first["episodes"]],
                    tuple(first["held"]),
                    shelves,
                )
            case _:
                raise ValueError(f"a line of kind {line.get('kind')!r} within the start")
    raise ValueError(CUT_OFF)


def digest(start: Start, markets: Mapping[str, type[Market]]) -> str:
    """Identify a state to the last digit, in whatever order it came about."""
    account = shape_of(Account)
    state = {
        "block": written_block(start.block),
        "streaks": sorted(
            [protocol, written_bytes(user), streak.first_block, streak.length]
            for (protocol, user), streak in start.streaks.items()
        ),
        "episodes": sorted((its.document() for its in start.episodes), key=itemgetter("id")),
        "held": sorted(start.held),
        "protocols": {
            name: [
                shelf.complete,
                shape_of(markets[name]).write(shelf.market),
                {written_bytes(holder): account.write(a) for holder, a in shelf.accounts.items()},
            ]
            for name, shelf in start.shelves.items()
        },
    }
    return blake2b(canonical(state), digest_size=16).hexdigest()


def frame_line(frame: Frame) -> Document:
    """Return the line of a frame."""
    match frame:
        case Taken(BlockBatch() as batch):
            line = {"kind": "block", "at": frame.at_ns, **_batch(batch), **_trust(frame)}
        case Taken(Rollback(ancestor)):
            line = {
                "kind": "rollback",
                "at": frame.at_ns,
                "ancestor": written_block(ancestor),
                **_trust(frame),
            }
        case Heard(at_ns, what):
            line = {"kind": "heard", "at": at_ns, **what}
        case End(reason):
            line = {"kind": "end", "reason": reason}
    return line


def read_frame(line: Document) -> Frame:
    """
    Read the line of a frame.

    Raises:
        ValueError: It is none (also LookupError, TypeError).
    """
    match line:
        case {"kind": "block", "at": at_ns}:
            return Taken(_read_batch(line), at_ns, *_read_trust(line))
        case {"kind": "rollback", "at": at_ns, "ancestor": ancestor}:
            return Taken(Rollback(read_block(ancestor)), at_ns, *_read_trust(line))
        case {"kind": "heard", "at": at_ns}:
            return Heard(at_ns, {k: v for k, v in line.items() if k not in {"kind", "at"}})
        case {"kind": "end", "reason": reason}:
            return End(reason)
        case _:
            raise ValueError(f"a line of kind {line.get('kind')!r}")


def written_block(block: Block) -> list[Any]:
    """Return a block as a row."""
    hashes = (written_bytes(block.hash), written_bytes(block.parent_hash))
    return [block.number, *hashes, block.timestamp]


def read_block(row: Sequence[Any]) -> Block:
    """Return the block of a row."""
    number, own, parent, timestamp = row
    return Block(number, BlockHash(read_bytes(own)), BlockHash(read_bytes(parent)), timestamp)


def written_log(log: Log) -> list[Any]:
    """Return a log as a row; its block stands elsewhere."""
    topics = [written_bytes(topic) for topic in log.topics]
    return [log.log_index, written_bytes(log.address), topics, written_bytes(log.data)]


def _batch(batch: BlockBatch) -> Document:
    return {
        "block": written_block(batch.block),
        "logs": [written_log(log) for log in batch.logs],
        "readings": [
            [*_call(call), None if answer is None else written_bytes(answer)]
            for call, answer in batch.readings.items()
        ],
        "arrived": batch.arrived_ns,
        "sealed": batch.sealed_ns,
    }


def _read_batch(line: Document) -> BlockBatch:
    block = read_block(line["block"])
    logs = tuple(
        Log(
            Address(read_bytes(address)),
            tuple(read_bytes(topic) for topic in topics),
            read_bytes(data),
            index,
            block.number,
        )
        for index, address, topics, data in line["logs"]
    )
    readings = {
        _read_call(*call): None if answer is None else read_bytes(answer)
        for *call, answer in line["readings"]
    }
    return BlockBatch(block, logs, readings, line["arrived"], line["sealed"])


def _call(call: Call) -> list[Any]:
    row = [NAMES[type(call)], written_bytes(call.to), written_bytes(call.data)]
    return [*row, call.gas] if isinstance(call, BoundedCall) else row


def _read_call(name: str, to: str, data: str, *gas: int) -> Call:
    return CALLS[name](Address(read_bytes(to)), read_bytes(data), *gas)


def _trust(taken: Taken) -> Document:
    mistrusted = {
        name: [written_bytes(holder) for holder in holders]
        for name, holders in taken.mistrusted.items()
        if holders
    }
    found = {"mistrusted": mistrusted, "held": list(taken.held)}
    return {name: what for name, what in found.items() if what}


def _read_trust(line: Document) -> tuple[dict[str, tuple[Holder, ...]], tuple[str, ...]]:
    mistrusted = {
        name: tuple(Address(read_bytes(holder)) for holder in holders)
        for name, holders in line.get("mistrusted", {}).items()
    }
    return mistrusted, tuple(line.get("held", ()))
