"""
Who ever borrowed, as a file that another machine can take over.

JSON lines, compressed when the name ends in `.gz`. Each protocol is a part: one header, then one
holder a line as a string in hex. The header's `sha256` is that of the part without it: the header
in canonical JSON (sorted keys, no blanks) and the holders, each followed by a line feed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from chimera.domain.block import Address
from chimera.errors import Refuse

FORMAT, VERSION = "chimera-borrowers", 1
HOLDER = re.compile(r'"0x((?:[0-9a-f]{2})+)"')
GZIP = b"\x1f\x8b"
LONGEST_LINE = 1 << 20  # characters; a header with all its markets stays far below
MOST = 2**63 - 1  # what the database has columns for

Header = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Roster:
    """
    Everybody who is known of one protocol, and how far the search for them got.

    Attributes:
        chain_id: Of the chain.
        protocol: Name of the instance.
        kind: Of the family.
        address: The entry contract, EIP-55.
        from_block: Where the search began.
        markets: The markets that were chosen, by id in hex; None for all there are.
        scanned_to: Per search ("borrowers", "suppliers"), the last block that it has covered.
        holders: Whose accounts they are.
    """

    chain_id: int
    protocol: str
    kind: str
    address: str
    from_block: int
    markets: tuple[str, ...] | None
    scanned_to: Mapping[str, int]
    holders: Sequence[Address]

    def header(self, part: int, parts: int) -> Header:
        """Return what stands above the holders, without the checksum."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "part": part,
            "parts": parts,
            "chain_id": self.chain_id,
            "protocol": self.protocol,
            "kind": self.kind,
            "address": self.address,
            "from_block": self.from_block,
            "markets": None if self.markets is None else list(self.markets),
            "scanned_to": dict(self.scanned_to),
            "count": len(self.holders),
        }


def write_rosters(path: Path, rosters: Sequence[Roster]) -> None:
    """
    Write a file, or leave what was there as it is.

    Raises:
        Refuse: It cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _opened_for_writing(unfinished, compressed=path.suffix == ".gz") as out:
            for number, roster in enumerate(rosters, 1):
                out.writelines(f"{line}\n" for line in _lines(roster, number, len(rosters)))
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise Refuse(f"{path} cannot be written: {error.strerror or error}") from error


def read_rosters(path: Path) -> list[Roster]:
    """
    Read a file, all of it or nothing.

    Raises:
        Refuse: It cannot be read, is no such file, is of a newer version, or is damaged.
    """
    try:
        with path.open("rb") as raw:
            compressed = raw.read(len(GZIP)) == GZIP
            raw.seek(0)
            source = gzip.GzipFile(fileobj=raw) if compressed else raw
            lines = io.TextIOWrapper(cast("io.BufferedReader", source), "utf-8")
            return list(_parts(_numbered(lines)))
    except _DamagedError as damage:
        raise Refuse(f"{path}: {damage}: copy or export it again") from damage
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise Refuse(f"{path} is cut off or damaged: copy or export it again") from error
    except OSError as error:
        raise Refuse(f"{path} cannot be read: {error.strerror or error}") from error


class _DamagedError(Exception):
    """The file does not hold what its headers say."""


def _opened_for_writing(path: Path, *, compressed: bool) -> io.TextIOWrapper:
    if compressed:
        return gzip.open(path, "wt", encoding="utf-8")
    return path.open("w", encoding="utf-8")


def _lines(roster: Roster, part: int, parts: int) -> Iterator[str]:
    header = roster.header(part, parts)
    digest = hashlib.sha256(_canonical(header))
    for holder in roster.holders:
        digest.update(_line(holder).encode() + b"\n")
    yield json.dumps({**header, "sha256": digest.hexdigest()})
    yield from map(_line, roster.holders)


def _line(holder: Address) -> str:
    return f'"0x{holder.hex()}"'


def _canonical(header: Header) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _numbered(lines: io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    number = 0
    while line := lines.readline(LONGEST_LINE):
        number += 1
        yield number, line.rstrip("\r\n")


def _parts(lines: Iterator[tuple[int, str]]) -> Iterator[Roster]:
    number = parts = 1
    while number <= parts:
        header = _header(next(lines, (0, "")), part=number)
        parts = header["parts"]
        yield _roster(header, lines)
        number += 1
    if extra := next(lines, None):
        raise _DamagedError(f"line {extra[0]} comes after the last part")


def _header(numbered: tuple[int, str], *, part: int) -> Header:
    place, line = numbered
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        if part == 1:
            raise _DamagedError("this is no list of borrowers, as `borrowers export` writes it")
        raise _DamagedError(
            f"part {part} has no header ({f'line {place}' if place else 'the end'})"
        )
    if header.get("version") != VERSION:
        raise Refuse(
            f"the file has version {header.get('version')!r} of the format, this Chimera reads"
            f" {VERSION}: update Chimera"
        )
    if not _is_complete(header) or header["part"] != part:
        raise _DamagedError(f"line {place}: the header is incomplete")
    return header


def _is_complete(header: Header) -> bool:
    scans, markets = header.get("scanned_to"), header.get("markets")
    return (
        all(_is_count(header.get(name)) for name in ("part", "parts", "chain_id", "from_block"))
        and _is_count(header.get("count"))
        and all(isinstance(header.get(n), str) for n in ("protocol", "kind", "address", "sha256"))
        and isinstance(scans, dict)
        and "markets" in header
        and all(map(_is_count, scans.values()))
        and (markets is None or (isinstance(markets, list) and all(map(_is_text, markets))))
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _roster(header: Header, lines: Iterator[tuple[int, str]]) -> Roster:
    checksum = header.pop("sha256")
    digest = hashlib.sha256(_canonical(header))
    holders = []
    for _ in range(header["count"]):
        place, line = next(lines, (0, ""))
        found = HOLDER.fullmatch(line)
        if found is None:
            where = f"line {place} is no holder" if place else "the end is missing"
            raise _DamagedError(f"{where} (part {header['part']}, {header['protocol']})")
        holders.append(Address(bytes.fromhex(found[1])))
        digest.update(line.encode() + b"\n")
    if digest.hexdigest() != checksum:
        raise _DamagedError(
            f"the checksum of {header['protocol']} does not fit, a line was changed"
        )
    markets = header["markets"]
    return Roster(
        chain_id=header["chain_id"],
        protocol=header["protocol"],
        kind=header["kind"],
        address=header["address"],
        from_block=header["from_block"],
        markets=None if markets is None else tuple(markets),
        scanned_to=header["scanned_to"],
        holders=holders,
    )
