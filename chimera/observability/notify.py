"""The line to systemd: datagrams to the socket that NOTIFY_SOCKET names (see sd_notify(3))."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

import structlog

log = structlog.get_logger()


class Notifier:
    """
    Says single lines (`READY=1`) to systemd. A message never waits and never raises.

    Args:
        path: A socket in the file system, or, with `@` in front, in the abstract name space.
    """

    def __init__(self, path: str) -> None:
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._deaf = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)  # noqa: FBT003  (the name of the method says it)

    def say(self, lines: Sequence[str]) -> bool:
        """Send all lines as one message; tell whether it has arrived. The first fault is logged."""
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as fault:
            if not self._deaf:
                log.warning("systemd_does_not_listen", fault=str(fault))
            self._deaf = True
            return False
        self._deaf = False
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def notifier(environment: Mapping[str, str]) -> Notifier | None:
    """Open the line that systemd offers in the environment; None where there is none."""
    path = environment.get("NOTIFY_SOCKET", "")
    return Notifier(path) if path.startswith(("/", "@")) else None
