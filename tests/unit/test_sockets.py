"""The block that keeps unit tests off the network."""

import asyncio
import socket

import pytest


def test_a_socket_to_the_network_is_refused() -> None:
    with pytest.raises(RuntimeError, match="tests/integration"):
        socket.create_connection(("127.0.0.1", 9))


async def test_a_connection_of_asyncio_is_refused() -> None:
    with pytest.raises(RuntimeError, match="tests/integration"):
        await asyncio.open_connection("127.0.0.1", 9)


def test_a_pair_of_unix_sockets_is_allowed() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"x")

        assert theirs.recv(1) == b"x"
