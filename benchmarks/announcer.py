"""
A node that only announces: whoever subscribes to logs is sent those of one block, a frame each.

The frames are made beforehand and written without a pause, so that nobody waits for this process.

    python -m benchmarks.announcer <file>

The file has a line per block: a JSON list of logs, as nodes write them. It prints its port; the
path of a connection's URL is the number of the line.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

CHAIN = "0x2105"
SUBSCRIPTION = "0x2"  # of logs; that of heads is 0x1


async def announce(path: Path) -> None:
    """Serve until the process is ended."""
    blocks = [b"".join(map(_frame, json.loads(line))) for line in path.open()]

    async def converse(socket: ServerConnection) -> None:
        place = int(socket.request.path.strip("/")) if socket.request else 0
        with suppress(ConnectionClosed):  # whoever has heard enough just leaves
            async for text in socket:
                asked = json.loads(text)
                logs = asked["params"][:1] == ["logs"]
                subscribed = SUBSCRIPTION if logs else "0x1"
                result = subscribed if asked["method"] == "eth_subscribe" else CHAIN
                said = {"jsonrpc": "2.0", "id": asked["id"], "result": result}
                await socket.send(json.dumps(said))
                if logs:
                    socket.transport.write(blocks[place])

    async with serve(converse, "127.0.0.1", 0, compression=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await server.serve_forever()


def _frame(log: object) -> bytes:
    params = {"subscription": SUBSCRIPTION, "result": log}
    message = {"jsonrpc": "2.0", "method": "eth_subscription", "params": params}
    text = json.dumps(message, separators=(",", ":")).encode()
    return Frame(Opcode.TEXT, text).serialize(mask=False)


if __name__ == "__main__":
    asyncio.run(announce(Path(sys.argv[1])))
