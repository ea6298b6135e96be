"""A real Redis for the length of a measurement."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from devnet.daemon import free_port

START_SECONDS = 10.0


@contextmanager
def redis_server() -> Iterator[str]:
    """
    Start a Redis on a free port of the loopback; yield its URL, end it by its process id.

    Raises:
        RuntimeError: There is no redis-server, or it does not answer.
    """
    binary = shutil.which("redis-server")
    if binary is None:
        raise RuntimeError("redis-server is not installed (make redis)")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="chimera-redis-") as folder:
        process = subprocess.Popen(
            [
                *(binary, "--bind", "127.0.0.1", "--port", str(port)),
                *("--save", "", "--appendonly", "no", "--dir", folder),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            process_group=0,  # an interruption is for us: we end it when we are done with it
        )
        try:
            _await(port, process, Path(folder))
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _await(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with Redis(host="127.0.0.1", port=port) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if client.config_get("dir")["dir"] == str(folder.resolve()):
                    return  # it is ours, and not another one on this port
            except RedisConnectionError:
                time.sleep(0.02)
    raise RuntimeError("redis-server does not answer")
