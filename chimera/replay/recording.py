"""
The file of a recording: lines of JSON behind their checksum, compressed as one stream.

Each frame is flushed by itself, so a process that is killed loses at most the frame that it was
writing. `docs/replay.md` describes the lines.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from chimera import __version__
from chimera.domain.market import Account, Market
from chimera.domain.opportunity import Opportunity
from chimera.errors import ChimeraError, Refuse
from chimera.replay.codec import fingerprint
from chimera.replay.frames import (
    Document,
    End,
    Frame,
    Start,
    frame_line,
    read_frame,
    read_start,
    start_lines,
)

FORMAT, VERSION = "chimera recording", 1
A = TypeVar("A")
B = TypeVar("B")

MAGIC = b"\x1f\x8b"
GZIP, LEVEL = 31, 6  # of zlib: a gzip header and trailer; speed against size
PIECE = 1 << 16  # bytes read at once
LONGEST_LINE = 1 << 28  # bytes; no frame comes near, so that garbage cannot fill the memory

Markets = Mapping[str, type[Market]]
"""What a protocol instance keeps its market in."""


class Damaged(ChimeraError):
    """A recording does not say what it said when it was written."""


@dataclass(frozen=True, slots=True)
class Followed:
    """One protocol of the configuration, as a recording names it."""

    name: str
    kind: str
    address: str
    from_block: int
    markets: Sequence[str] | None = None
    suppliers: bool = False


@dataclass(frozen=True, slots=True)
class Header:
    """
    What has to be known to build the same mirror: no address of any node, no secret.

    Attributes:
        began: The two clocks at the beginning, so that `at` can be told in either: "utc" (ISO) and
            "monotonic_ns".
    """

    chain_id: int
    chain_name: str
    confirmation_blocks: int
    protocols: Sequence[Followed]
    began: Mapping[str, Any]


def shapes(markets: Markets) -> str:
    """Identify how this version writes the values of these protocols."""
    return fingerprint(Account, Opportunity, *(markets[name] for name in sorted(markets)))


# --- writing -------------------------------------------------------------------------------------


class Tape:
    """
    One file that is being written. Not for two threads at once.

    Raises:
        OSError: The file cannot be made or written; it is of no use then beyond its whole lines.
    """

    def __init__(self, path: Path, header: Header, markets: Markets) -> None:
        self.path = path
        self.size = 0
        self._markets = markets
        self._packer = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
        self._out = path.open("xb", buffering=0)
        try:
            self._write([_header_line(header, markets)])
        except OSError:
            self.close()
            raise

    def begin(self, start: Start, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Write where the recording begins; of a large book that takes seconds, unless `stop`."""
        for line in start_lines(start, self._markets):
            if stop():
                return
            self._write([line], flush=False)
        self._write([])

    def add(self, frame: Frame) -> None:
        """Write one frame, so that it is there whatever happens next."""
        self._write([frame_line(frame)])

    def end(self, end: End) -> None:
        """Say why nothing follows, and close."""
        try:
            self._write([frame_line(end)], flush=False)
            self._put(self._packer.flush())
        finally:
            self.close()

    def close(self) -> None:
        """Leave the file as it is."""
        self._out.close()

    def _write(self, lines: Sequence[Document], *, flush: bool = True) -> None:
        for line in lines:
            text = json.dumps(line, separators=(",", ":")).encode()
            self._put(self._packer.compress(b"%08x %s\n" % (zlib.crc32(text), text)))
        if flush:
            self._put(self._packer.flush(zlib.Z_SYNC_FLUSH))

    def _put(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            written = self._out.write(rest)
            self.size += written
            rest = rest[written:]


def _header_line(header: Header, markets: Markets) -> Document:
    return {
        "format": FORMAT,
        "version": VERSION,
        "chimera": __version__,
        "shapes": shapes(markets),
        "chain": {"id": header.chain_id, "name": header.chain_name},
        "confirmation_blocks": header.confirmation_blocks,
        "protocols": [
            {
                "name": its.name,
                "kind": its.kind,
                "address": its.address,
                "from_block": its.from_block,
                "markets": None if its.markets is None else list(its.markets),
                "suppliers": its.suppliers,
            }
            for its in header.protocols
        ],
        "began": dict(header.began),
    }


# --- reading -------------------------------------------------------------------------------------


class Recording:
    """
    One file, read from its beginning to its last whole frame.

    Attributes:
        header: Of the file.
        is_cut_off: Whether the file ends without saying so, known once `frames` has ended.

    Raises:
        Refuse: It cannot be opened, is no recording, or is of another version.
        Damaged: Its first line does not fit its checksum.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_cut_off = False
        self._lines = _lines(path)
        first = next(self._lines, None)
        if first is None:
            raise Damaged(f"{path} is cut off within its first line: nothing of it can be replayed")
        if first.get("format") != FORMAT:
            raise Refuse(f"{path} is no recording of Chimera")
        if first.get("version") != VERSION:
            raise Refuse(
                f"{path} is of format version {first.get('version')} (Chimera"
                f" {first.get('chimera')}), this is Chimera {__version__}, which reads"
                f" {VERSION}: replay it with the version that wrote it"
            )
        self._shapes, self._writer = first.get("shapes"), first.get("chimera")
        self.header = self._sure(_read_header, first)

    def start(self, markets: Markets) -> Start:
        """
        Return where the recording begins; to be asked once, before `frames`.

        Raises:
            Refuse: It was written by a version that keeps accounts or markets in other shapes.
            Damaged: It is cut off there already, or damaged.
        """
        if self._shapes != shapes(markets):
            raise Refuse(
                f"{self.path} was written by Chimera {self._writer}, which keeps accounts or"
                f" markets in other shapes than this one ({__version__}): replay it with the"
                " version that wrote it"
            )
        return self._sure(lambda lines: read_start(lines, markets), self._lines)

    def frames(self) -> Iterator[Frame]:
        """
        Yield what came in, in order.

        Raises:
            Damaged: A line is not what was written; those before it have been yielded.
        """
        for line in self._lines:
            frame = self._sure(read_frame, line)
            yield frame
            if isinstance(frame, End):
                for _ in self._lines:
                    raise Damaged(f"{self.path} is damaged: something stands behind its end")
                return
        self.is_cut_off = True

    def _sure(self, read: Callable[[A], B], what: A) -> B:
        try:
            return read(what)
        except (LookupError, TypeError, ValueError, AttributeError) as fault:
            raise Damaged(f"{self.path} cannot be replayed: {fault}") from fault


def _read_header(line: Document) -> Header:
    return Header(
        chain_id=line["chain"]["id"],
        chain_name=line["chain"]["name"],
        confirmation_blocks=line["confirmation_blocks"],
        protocols=[Followed(**its) for its in line["protocols"]],
        began=line["began"],
    )


def _lines(path: Path) -> Iterator[Document]:
    """Yield every whole line; what stands behind the last one was never finished."""
    rest, number = b"", 0
    for piece in _unpacked(path):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            number += 1
            yield _checked(path, line, number)
        if len(rest) > LONGEST_LINE:
            raise Damaged(f"{path} is damaged: line {number + 1} never ends")


def _checked(path: Path, line: bytes, number: int) -> Document:
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        raise Damaged(f"{path} is damaged: line {number} does not fit its checksum")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise Damaged(f"{path} is damaged: line {number} is no JSON") from fault
    if not isinstance(document, dict):
        raise Damaged(f"{path} is damaged: line {number} is no object")
    return document


def _unpacked(path: Path) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(GZIP)
    try:
        with path.open("rb") as source:
            if not MAGIC.startswith(source.read(len(MAGIC))):
                raise Refuse(f"{path} is no recording of Chimera")
            source.seek(0)
            while piece := source.read(PIECE):
                yield unpacker.decompress(piece)
                if unpacker.unused_data:
                    raise Damaged(f"{path} is damaged: something stands behind its end")
    except zlib.error as fault:
        raise Damaged(f"{path} is damaged: it cannot be unpacked ({fault})") from fault
    except OSError as fault:
        raise Refuse(f"{path} cannot be read: {fault.strerror or fault}") from fault
