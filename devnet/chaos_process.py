"""What may be done to a process from outside: hold it, let it go, ask how large it is."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KIB = 1024


@contextmanager
def held(pid: int) -> Iterator[None]:
    """Stop a process (SIGSTOP) for the length of a `with` block; its sockets stay open."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def memory(pid: int) -> int:
    """Return the bytes of memory that a process alone has in use (its anonymous pages)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * KIB
    raise RuntimeError(f"process {pid} has no memory of its own: it has ended")


def limit_files(pid: int, size: int | None) -> None:
    """Forbid a process to write past `size` bytes of any file; None lifts that again."""
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    limit = most if size is None else size
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, most))
