"""
From the bytes of a WebSocket to accounts in the book, a frame per log, and web3.py beside it.

Another process sends the frames. What is measured is the CPU time of this one from asking for the
logs to the last of them: ours with the daemon's own subscription, the family's rules and the book,
web3.py's with its subscription and `process_log`, which keeps nothing.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

from web3 import AsyncWeb3, WebSocketProvider

from benchmarks.announcer import CHAIN
from benchmarks.measuring import Samples
from chimera.domain.block import BlockBatch, Log, LogQuery
from chimera.rpc.announcements import NewLogs
from chimera.rpc.websocket import Subscription

PATIENCE = 60.0  # seconds for one block


@contextmanager
def announcing(blocks: Sequence[bytes]) -> Iterator[str]:
    """Send these blocks' logs (JSON lists) to whoever asks; yields the URL without its number."""
    with tempfile.TemporaryDirectory(prefix="chimera-bench-events-") as folder:
        path = Path(folder) / "blocks"
        path.write_bytes(b"".join(block + b"\n" for block in blocks))
        program = [sys.executable, "-m", "benchmarks.announcer", str(path)]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
            try:
                if process.stdout is None:
                    raise RuntimeError("the announcer says nothing")
                yield f"ws://127.0.0.1:{int(process.stdout.readline())}"
            finally:
                process.terminate()


def ours(url: str, batch: BlockBatch, apply: Callable[[BlockBatch], None]) -> Samples:
    """Receive a block's logs by the daemon's subscription, and apply them."""
    return [asyncio.run(asyncio.wait_for(_ours(url, batch, apply), PATIENCE))]


async def _ours(url: str, batch: BlockBatch, apply: Callable[[BlockBatch], None]) -> float:
    subscription = Subscription([url], chain_id=int(CHAIN, 16))
    query = LogQuery(
        frozenset(log.address for log in batch.logs),
        frozenset(log.topics[0] for log in batch.logs),
    )
    logs: list[Log] = []
    async with aclosing(subscription.listen()) as events:
        await anext(events)  # connected
        began = time.process_time()
        subscription.watch(query)
        async for event in events:
            if isinstance(event, NewLogs):
                logs += event.logs
                if len(logs) == len(batch.logs):
                    break
        apply(BlockBatch(batch.block, tuple(logs), batch.readings))
        return time.process_time() - began


def theirs(url: str, count: int, decoders: Mapping[bytes, Any]) -> Samples:
    """Receive and decode a block's logs as web3.py does it."""
    return [asyncio.run(asyncio.wait_for(_theirs(url, count, decoders), PATIENCE))]


async def _theirs(url: str, count: int, decoders: Mapping[bytes, Any]) -> float:
    provider = WebSocketProvider(url, subscription_response_queue_size=2 * count)
    async with AsyncWeb3(provider) as web3:
        began = time.process_time()
        await web3.eth.subscribe("logs", {})
        decoded = []
        async for message in web3.socket.process_subscriptions():
            entry: Any = message["result"]
            decoded.append(decoders[bytes(entry["topics"][0])].process_log(entry))
            if len(decoded) == count:
                break
        return time.process_time() - began
