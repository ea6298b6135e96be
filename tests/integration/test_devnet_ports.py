"""Ports that servers of the tests are told: nobody else is given one while its owner lives."""

from __future__ import annotations

import socket

import pytest

from devnet import ports


class Owner:
    """Whoever starts a server."""


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """The only port that there is."""
    only = ports.free_port()
    monkeypatch.setattr(ports, "SERVED", range(only, only + 1))
    return only


def test_a_port_belongs_to_its_owner_while_he_lives(port: int) -> None:
    owner = Owner()
    assert ports.port_for(owner) == port

    with pytest.raises(ports.NoPort):
        ports.port_for(Owner())
    with pytest.raises(ports.NoPort):
        ports.free_port()

    del owner
    assert ports.free_port() == port


def test_a_port_that_a_server_listens_on_is_not_free(port: int) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
        with pytest.raises(ports.NoPort):
            ports.free_port()
    assert ports.free_port() == port
