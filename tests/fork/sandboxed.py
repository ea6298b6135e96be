"""The daemon under the system call filter of its unit: `sandboxed.py UNIT run --config FILE`.

The same library that systemd uses (libseccomp) loads the same rules: SystemCallFilter=,
MemoryDenyWriteExecute= and RestrictAddressFamilies=, and then the command line runs.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
EQUAL, MASKED_EQUAL = 4, 7  # enum scmp_compare
SHM_EXEC = 0o100000
UNKNOWN = -1  # what seccomp_syscall_resolve_name answers


class Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`: an argument of a system call held against a value."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class Filter:
    """A seccomp filter: what it is told to refuse fails with EPERM."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(ALLOW)))

    def refuse(self, name: str, *comparisons: Comparison) -> None:
        """Refuse a system call (where all comparisons hold); unknown ones do not exist here."""
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number == UNKNOWN:
            return
        array = (Comparison * len(comparisons))(*comparisons)
        self._library.seccomp_rule_add_array(
            self._context, ctypes.c_uint32(REFUSE), number, len(comparisons), array
        )

    def load(self) -> None:
        """Put it into force, for this process and all that it starts."""
        done = self._library.seccomp_load(self._context)
        if done != 0:
            raise OSError(-done, f"seccomp_load: {os.strerror(-done)}")


def members(group: str) -> Iterator[str]:
    """Yield the system calls in a group as systemd defines it."""
    if not group.startswith("@"):
        yield group
        return
    said = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", group],
        capture_output=True,
        text=True,
        check=True,
    )
    for line in said.stdout.splitlines()[1:]:
        if (name := line.strip()) and not name.startswith("#"):
            yield from members(name)


def allowed(lines: list[str]) -> set[str]:
    """Return what the SystemCallFilter= lines of a unit allow."""
    found: set[str] = set()
    for line in lines:
        names = {name for word in line.removeprefix("~").split() for name in members(word)}
        found = found - names if line.startswith("~") else found | names
    return found


def confine(unit: Path) -> None:
    """Do to this process what systemd does with the settings of `unit`."""
    values = [line.partition("=") for line in unit.read_text().splitlines()]
    granted = allowed([value for name, _, value in values if name == "SystemCallFilter"])
    families = next(value for name, _, value in values if name == "RestrictAddressFamilies")
    sandbox = Filter()
    for name in set(members("@known")) - granted:
        sandbox.refuse(name)
    for family in set(socket.AddressFamily) - {getattr(socket, f) for f in families.split()}:
        sandbox.refuse("socket", Comparison(0, EQUAL, family, 0))
    if ("MemoryDenyWriteExecute", "=", "yes") in values:
        both = mmap.PROT_WRITE | mmap.PROT_EXEC
        sandbox.refuse("mmap", Comparison(2, MASKED_EQUAL, both, both))
        for call in ("mprotect", "pkey_mprotect"):
            executable = Comparison(2, MASKED_EQUAL, mmap.PROT_EXEC, mmap.PROT_EXEC)
            sandbox.refuse(call, executable)
        sandbox.refuse("shmat", Comparison(2, MASKED_EQUAL, SHM_EXEC, SHM_EXEC))
    sandbox.load()


if __name__ == "__main__":
    confine(Path(sys.argv.pop(1)))
    from chimera.cli import main

    main()
