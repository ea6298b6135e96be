"""Ports of the loopback for servers that are told their port before they listen on it."""

from __future__ import annotations

import random
import socket
import weakref

SERVED = range(10_000, 32_000)  # below those that the kernel lends to outgoing connections
TRIES = 100


class NoPort(RuntimeError):
    """Nothing is free."""


def free_port() -> int:
    """Return a TCP port that is free now. Raises NoPort."""
    port, token = _found()
    token.close()
    return port


def port_for(owner: object) -> int:
    """
    Return a TCP port that nobody else is given by this module while `owner` lives.

    A server that is killed and comes back finds it free, in whatever process others were started.

    Raises:
        NoPort: None was free.
    """
    port, token = _found()
    weakref.finalize(owner, token.close)
    return port


def _found() -> tuple[int, socket.socket]:
    """Find a port and hold the one of UDP with its number, which no server here listens on."""
    chance = random.SystemRandom()  # seeds of tests must not make two processes agree
    for _ in range(TRIES):
        port = chance.choice(SERVED)
        token = socket.socket(type=socket.SOCK_DGRAM)
        try:
            token.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            token.close()
            continue
        return port, token
    raise NoPort(f"none of {TRIES} ports was free")
