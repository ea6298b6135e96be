"""Unit tests reach no network: a socket that is not asyncio's own is a failure."""

import socket
from typing import Any

import pytest


class BlockedSocket(socket.socket):
    """A socket that only Unix domain sockets (asyncio wakes itself by one) may be made of."""

    def __init__(self, family: int = -1, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        made_from_a_pair = kwargs.get("fileno") is not None or len(args) > 2
        if family != socket.AF_UNIX and not made_from_a_pair:
            raise RuntimeError("a unit test opened a socket: it belongs into tests/integration")
        super().__init__(family, *args, **kwargs)


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", BlockedSocket)
