"""The shapes of JSON-RPC, with only the fields that we need, and how they become domain values."""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from chimera.domain.block import Address, Block, BlockHash, Log, LogQuery
from chimera.rpc.faults import Garbled, NodeError

T = TypeVar("T")

ADDRESS_BYTES, WORD_BYTES = 20, 32
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what no decoder takes

_PLACE = attrgetter("block_number", "log_index")


class Answer(msgspec.Struct, gc=False):
    """One JSON-RPC answer; `result` stays undecoded until its type is known."""

    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    error: NodeError | None = None


class Header(msgspec.Struct, gc=False, rename="camel"):
    """A block header as nodes write it."""

    number: str
    hash: str
    parent_hash: str
    timestamp: str

    def block(self) -> Block:
        """Return the domain's block. Raises Garbled."""
        return Block(
            number=quantity(self.number),
            hash=BlockHash(word(self.hash)),
            parent_hash=BlockHash(word(self.parent_hash)),
            timestamp=quantity(self.timestamp),
        )


class WireLog(msgspec.Struct, gc=False, rename="camel"):
    """A log as nodes write it."""

    address: str
    topics: list[str]
    data: str
    block_number: str
    block_hash: str
    log_index: str
    removed: bool = False

    def log(self) -> Log:
        """Return the domain's log. Raises Garbled."""
        return Log(
            Address(sized(self.address, ADDRESS_BYTES)),
            tuple([word(topic) for topic in self.topics]),
            octets(self.data),
            quantity(self.log_index),
            quantity(self.block_number),
        )


class Filter:
    """
    A query as nodes write it, and what they answer as logs.

    The emitter and the first topic of a wanted log are among those asked for: they are looked up
    by their text, not read, and all logs share them.
    """

    def __init__(self, query: LogQuery) -> None:
        self.query = query
        self.members: dict[str, Any] = {
            "address": [hexed(address) for address in sorted(query.addresses)],
            "topics": [[hexed(topic) for topic in sorted(query.topics)]],
        }
        self._emitters = {hexed(address): address for address in query.addresses}
        self._firsts = {hexed(topic): topic for topic in query.topics}

    def logs(self, found: Iterable[WireLog]) -> tuple[Log, ...]:
        """Return those that the query wants, in the order of the chain. Raises Garbled."""
        logs = []
        for wire in found:
            log = self.log(wire)
            if log is not None:
                logs.append(log)
        logs.sort(key=_PLACE)
        return tuple(logs)

    def log(self, wire: WireLog) -> Log | None:
        """Return one of them, None where the query does not want it. Raises Garbled."""
        try:  # in one breath, not field by field: this is the hot path
            emitter = self._emitters[wire.address]
            topics: tuple[bytes, ...] = (self._firsts[wire.topics[0]],)
            for text in wire.topics[1:]:
                topics += (unhexlify(text[2:]),)
                if len(topics[-1]) != WORD_BYTES:
                    raise Garbled("a log has a topic of the wrong size")
            data = unhexlify(wire.data[2:])
            return Log(emitter, topics, data, int(wire.log_index, 16), int(wire.block_number, 16))
        except LookupError:  # a stranger's, or in another spelling
            log = wire.log()
            return log if self.query.wants(log) else None
        except ValueError as error:
            raise Garbled(f"a log is not in hexadecimal: {error}") from None


TEXT: msgspec.json.Decoder[str] = msgspec.json.Decoder(str)
LOGS: msgspec.json.Decoder[list[WireLog]] = msgspec.json.Decoder(list[WireLog])
HEADER: msgspec.json.Decoder[Header | None] = msgspec.json.Decoder(Header | None)


def octets(text: str) -> bytes:
    """Read 0x-prefixed data. Raises Garbled."""
    if text[:2] == "0x":
        try:
            return bytes.fromhex(text[2:])
        except ValueError:
            pass
    raise Garbled(f"expected hexadecimal data, got {text[:40]!r}")


def sized(text: str, size: int) -> bytes:
    """Read 0x-prefixed data of exactly `size` bytes. Raises Garbled."""
    value = octets(text)
    if len(value) != size:
        raise Garbled(f"expected {size} bytes, got {len(value)}")
    return value


def word(text: str) -> bytes:
    """Read a 32-byte word. Raises Garbled."""
    return sized(text, WORD_BYTES)


def quantity(text: str) -> int:
    """Read a 0x-prefixed integer of at most a word. Raises Garbled."""
    if text[:2] == "0x" and len(text) <= 2 + 2 * WORD_BYTES:
        try:
            return int(text, 16)
        except ValueError:
            pass
    raise Garbled(f"expected a hexadecimal quantity, got {text[:40]!r}")


def hexed(value: bytes) -> str:
    """Write data as nodes expect it."""
    return f"0x{value.hex()}"


def decoded(decoder: msgspec.json.Decoder[T], raw: str | bytes | msgspec.Raw, asked: str) -> T:
    """Decode JSON into its type. Raises Garbled, naming what was `asked`."""
    try:
        return decoder.decode(raw)
    except UNREADABLE as error:
        raise Garbled(f"{asked}: unusable answer: {error}") from None
