"""The shapes of JSON-RPC, with only the fields that we need, and how they become domain values."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from chimera.domain.block import Address, Block, BlockHash, Log, LogQuery
from chimera.rpc.faults import Garbled, NodeError

T = TypeVar("T")

ADDRESS_BYTES, WORD_BYTES = 20, 32
_UNHEX = bytes.fromhex


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
        try:  # in one breath, not field by field: this is the hot path
            log = Log(
                Address(_UNHEX(self.address[2:])),
                tuple([_UNHEX(topic[2:]) for topic in self.topics]),
                _UNHEX(self.data[2:]),
                int(self.log_index, 16),
                int(self.block_number, 16),
            )
        except ValueError as error:
            raise Garbled(f"a log is not in hexadecimal: {error}") from None
        if len(log.address) != ADDRESS_BYTES or any(
            len(topic) != WORD_BYTES for topic in log.topics
        ):
            raise Garbled("a log has an address or a topic of the wrong size")
        return log


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


def filter_of(query: LogQuery) -> dict[str, Any]:
    """Return the `address` and `topics` members of a log filter, in a stable order."""
    return {
        "address": [hexed(address) for address in sorted(query.addresses)],
        "topics": [[hexed(topic) for topic in sorted(query.topics)]],
    }


def decoded(decoder: msgspec.json.Decoder[T], raw: bytes | msgspec.Raw, asked: str) -> T:
    """Decode JSON into its type. Raises Garbled, naming what was `asked`."""
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Garbled(f"{asked}: unusable answer: {error}") from None
