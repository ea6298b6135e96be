"""What a Redis may suffer while it stays up: no memory, no right to write, no room for clients."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from redis import Redis

from devnet.redis_server import RedisServer

NOBODY = ("127.0.0.1", 1)  # a master that is not there
FEW = 3  # connections
TAKING = 30.0  # seconds in which the few connections are ours
STREAM = "chimera:opportunities"
OPTIONS = ("--enable-debug-command", "local")


@contextmanager
def client_of(redis: RedisServer) -> Iterator[Any]:
    """Speak to the server itself, past every proxy."""
    with Redis.from_url(redis.url, decode_responses=True) as client:
        yield client


@contextmanager
def full(redis: RedisServer) -> Iterator[None]:
    """Refuse every write: the memory that was allowed is used up."""
    with client_of(redis) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)


@contextmanager
def read_only(redis: RedisServer) -> Iterator[None]:
    """Be a replica whose master is away: reads are answered, writes are not."""
    with client_of(redis) as client:
        client.replicaof(*NOBODY)
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def crowded(redis: RedisServer) -> Iterator[None]:
    """Throw every client out and take the few connections that are allowed from here on."""
    with client_of(redis) as client, ExitStack() as stack:
        before = client.config_get("maxclients")["maxclients"]
        try:
            client.config_set("maxclients", FEW)
            deadline = time.monotonic() + TAKING
            while not _take_all(client, redis.port, stack):
                if time.monotonic() > deadline:
                    raise RuntimeError("the connections could not be taken")
            yield
        finally:
            client.config_set("maxclients", before)


@contextmanager
def hung(redis: RedisServer) -> Iterator[None]:
    """Accept connections and answer nothing."""
    redis.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        redis.signal(signal.SIGCONT)


def sleep(redis: RedisServer, seconds: float) -> None:
    """Have the server do nothing for so long (it has to be started with `OPTIONS`)."""
    with client_of(redis) as client:
        client.execute_command("DEBUG", "SLEEP", seconds)


def _take_all(client: Any, port: int, stack: ExitStack) -> bool:  # noqa: ANN401  (untyped driver)
    """Throw out everybody but us, and come first; tell whether all connections are ours."""
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    ours = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(FEW)]
    for one in ours[: FEW - 1]:
        one.sendall(b"PING\r\n")
        if not one.recv(7).startswith(b"+PONG"):
            return False
    return True
