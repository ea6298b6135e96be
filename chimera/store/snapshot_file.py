"""
The book in a file beside the history: everybody's account as it was at one block.

The file begins with `MAGIC`, then the SHA-256 digest of all that follows: the length of the header,
the header in MessagePack, and for each protocol its pages (see `snapshot_codec`) and who was known
without an account. Whoever reads it gets all of it or is refused.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
from sqlalchemy import make_url

from chimera.domain.block import Block, BlockHash
from chimera.domain.market import Account, Holder
from chimera.domain.remembered import Remembered
from chimera.errors import Skip
from chimera.store.snapshot_codec import Count, Decoder, Encoder, Names, Place, pages_of

MAGIC = b"chimera snapshot 2\n"  # the 2 is the version of the format
DIGEST_BYTES = 32
LENGTH_BYTES = 8


def place_of(history_url: str, chain_id: int) -> Path | None:
    """Return where the file of a history stands; None where the history is no file itself."""
    url = make_url(history_url)
    path = url.database or ":memory:"
    if url.get_backend_name() != "sqlite" or path.startswith((":memory:", "file:")):
        return None
    return Path(f"{path}.{chain_id}.snapshot")


class Instance(msgspec.Struct, frozen=True):
    """
    Whose accounts these are; only those of the very same instance are of use.

    Attributes:
        name: Of the instance.
        kind: Of the family.
        address: Its entry contract.
        markets: The isolated markets that were chosen, in order; None for all.
        complete: Whether these are all holders, or borrowers only.
    """

    name: str
    kind: str
    address: bytes
    markets: tuple[bytes, ...] | None
    complete: bool


class Identity(msgspec.Struct, frozen=True):
    """What a file and its reader must have in common."""

    chimera: str  # the version that wrote it: another may keep accounts otherwise
    chain_id: int
    instances: tuple[Instance, ...]

    def difference(self, other: Identity) -> str | None:
        """Say what another one has otherwise, None if it is the same."""
        if self.chimera != other.chimera:
            return f"it is of version {other.chimera}"
        if self.chain_id != other.chain_id:
            return f"it is of chain {other.chain_id}"
        return None if self == other else "it is of other protocols"


class Part(msgspec.Struct, frozen=True):
    """How the accounts of one instance are laid out, with holders of `size` bytes each."""

    size: Count
    names: Names
    pages: int
    accounts: int
    vacant: Place  # how many are known without an account


class Header(msgspec.Struct, frozen=True):
    """All that is not an array."""

    identity: Identity
    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int
    parts: tuple[Part, ...]  # in the order of the instances


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a file says: the accounts of each protocol at one block."""

    block: Block
    protocols: Mapping[str, Remembered]


class Draft:
    """A file in the making, one protocol after the other, page by page."""

    def __init__(self, identity: Identity, block: Block) -> None:
        self.block = block
        self._identity = identity
        self._parts: list[Part] = []
        self._content: list[bytes] = []

    def add(self, items: Iterable[tuple[Holder, Account]], vacant: bytes) -> Iterator[None]:
        """Add the next protocol; between two pages, somebody else may have a turn."""
        encoder, pages, accounts, size = Encoder(), 0, 0, 1
        for page in pages_of(items):
            self._content.append(encoder.page(*page))
            pages += 1
            accounts += len(page[0])
            size = len(page[0][0])
            yield
        known = vacant if accounts else b""  # without any account, it is not said how long they are
        self._content.append(known)
        self._parts.append(Part(size, encoder.names, pages, accounts, len(known) // size))

    def save(self, path: Path) -> None:
        """
        Write the file; until all of it is on the disk, the one that was there stays.

        Raises:
            OSError: It cannot be written.
        """
        block = self.block
        header = msgspec.msgpack.encode(
            Header(
                self._identity,
                block.number,
                block.hash,
                block.parent_hash,
                block.timestamp,
                tuple(self._parts),
            )
        )
        content = [len(header).to_bytes(LENGTH_BYTES, "little"), header, *self._content]
        unfinished = path.with_name(f"{path.name}.part")
        with unfinished.open("wb") as file:
            file.write(MAGIC + _digest(content))
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # else a power cut may take the new name away
        finally:
            os.close(folder)


def read_content(path: Path) -> memoryview:
    """
    Read a file, and return what its digest vouches for.

    Raises:
        Skip: It cannot be read, is of another version, or is damaged.
    """
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise Skip(f"it cannot be read: {error.strerror or error}") from error
    begin = len(MAGIC) + DIGEST_BYTES
    if content[: len(MAGIC)] != MAGIC:
        raise Skip("it is no snapshot of this version")
    if content[len(MAGIC) : begin] != _digest([content[begin:]]):
        raise Skip("it is damaged")
    return content[begin:]


def read_header(content: memoryview, identity: Identity) -> Header:
    """
    Read what the file is about.

    Raises:
        Skip: It is of another chain, of other protocols, or of another version of ours.
    """
    end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    try:
        header = msgspec.msgpack.decode(content[LENGTH_BYTES:end], type=Header)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Skip(f"its header is none: {error}") from error
    difference = identity.difference(header.identity)
    if difference is not None:
        raise Skip(difference)
    return header


def block_of(header: Header) -> Block:
    """Return the block that the accounts are of."""
    own, parent = BlockHash(header.hash), BlockHash(header.parent_hash)
    return Block(header.number, own, parent, header.timestamp)


def read_snapshot(content: memoryview, header: Header) -> Snapshot:
    """
    Read every account.

    Raises:
        Skip: The arrays are not what the header says.
    """
    try:
        with _uncollected():
            return Snapshot(block_of(header), dict(_read_parts(content, header)))
    except (ValueError, IndexError, OverflowError, msgspec.MsgspecError) as error:
        raise Skip(f"its accounts are not what they should be: {error}") from error


def _read_parts(content: memoryview, header: Header) -> Iterator[tuple[str, Remembered]]:
    at = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    for instance, part in zip(header.identity.instances, header.parts, strict=True):
        remembered, at = _read_part(content, at, part)
        yield instance.name, remembered
    if at != len(content):
        raise ValueError("some bytes belong to nobody")


def _read_part(content: memoryview, at: int, part: Part) -> tuple[Remembered, int]:
    decoder = Decoder(part.names, part.size)
    for _ in range(part.pages):
        at = decoder.page(content, at)
    if len(decoder.accounts) != part.accounts:
        raise ValueError("somebody has two accounts")
    vacant = np.frombuffer(content, f"V{part.size}", part.vacant, at).tolist()
    return Remembered(decoder.accounts, frozenset(vacant)), at + part.vacant * part.size


def _digest(content: list[bytes] | list[memoryview]) -> bytes:
    digest = sha256()  # processors have instructions for it
    for part in content:
        digest.update(part)
    return digest.digest()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Make many objects that stay, without the collector walking through them meanwhile."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()  # else the first collection would walk through all of them
    finally:
        if collects:
            gc.enable()
