"""Blocks, logs, and the two messages by which the chain enters: `BlockBatch` and `Rollback`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NewType

import msgspec

if TYPE_CHECKING:
    from chimera.domain.call import Call, Readings

Address = NewType("Address", bytes)  # 20 bytes
BlockHash = NewType("BlockHash", bytes)  # 32 bytes

ZERO_ADDRESS = Address(bytes(20))


@dataclass(frozen=True, slots=True)
class Block:
    """The part of a header that decides: place, identity, ancestry and time (seconds)."""

    number: int
    hash: BlockHash
    parent_hash: BlockHash
    timestamp: int


class Log(msgspec.Struct, frozen=True, gc=False):
    """One event of one block. `topics[0]` is the event's signature hash, 32 bytes."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    log_index: int
    block_number: int


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which logs to ask for: emitted by one of `addresses`, first topic one of `topics`."""

    addresses: frozenset[Address]
    topics: frozenset[bytes]

    def wants(self, log: Log) -> bool:
        """Tell whether `log` belongs to the answer."""
        return log.address in self.addresses and bool(log.topics) and log.topics[0] in self.topics


@dataclass(frozen=True, slots=True)
class BlockBatch:
    """
    Everything of one block that can change a health factor, sealed by the block's hash.

    `logs` are all logs that the followed query matches, in order; `readings` the answers of the
    calls asked for at this hash. The two clocks are nanoseconds of `time.monotonic_ns`, 0 when the
    block did not come from a live head; they only feed metrics.
    """

    block: Block
    logs: tuple[Log, ...]
    readings: Readings
    arrived_ns: int = field(default=0, compare=False)
    sealed_ns: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Rollback:
    """Every block above `ancestor` left the chain; the next batch builds on it."""

    ancestor: Block


@dataclass(frozen=True, slots=True)
class Needs:
    """What a sealed set of logs lacks before it can be applied: more calls, more emitters."""

    calls: tuple[Call, ...] = ()
    addresses: frozenset[Address] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.calls or self.addresses)
