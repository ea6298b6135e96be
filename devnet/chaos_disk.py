"""A disk that is full when one wants it to be, and a SQLite file that somebody else has locked."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from devnet.chaos_process import limit_files

SIZE = 16 * 2**20  # bytes of the small disk
PIECE = 64 * 1024
BALLAST = "ballast"
WRITE_AHEAD = "-wal"  # how SQLite calls the file that grows with every write


class SmallDisk:
    """
    A folder on a disk of 16 MiB of its own, where this machine lets us mount one.

    Where it does not, the folder is a plain one, and a process that has a file in it is forbidden
    to make any file longer than the write-ahead log of its database is by then.

    Attributes:
        folder: Where to keep what is to run out of space.
        mounted: Whether it is a disk of its own.
    """

    def __init__(self) -> None:
        self.folder = Path()
        self.mounted = False
        self._limited: list[int] = []

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="chimera-disk-"))
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(self.folder)]
        if shutil.which("mount") is not None:
            done = subprocess.run(mount, check=False, capture_output=True)
            self.mounted = done.returncode == 0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
        shutil.rmtree(self.folder)

    def fill(self, pid: int, database: Path) -> None:
        """Leave no byte to the process `pid`, whose SQLite file is `database`."""
        if not self.mounted:
            limit_files(pid, database.with_name(database.name + WRITE_AHEAD).stat().st_size)
            self._limited.append(pid)
            return
        with (self.folder / BALLAST).open("wb", buffering=0) as ballast:
            for size in (PIECE, 1):
                _write_all(ballast.fileno(), size)

    def free(self) -> None:
        """Give the space back."""
        for pid in self._limited:
            limit_files(pid, None)
        self._limited.clear()
        (self.folder / BALLAST).unlink(missing_ok=True)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the write lock of a SQLite file, as another program may."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def _write_all(handle: int, size: int) -> None:
    try:
        while os.write(handle, bytes(size)):
            pass
    except OSError:
        return
