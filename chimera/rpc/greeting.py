"""One short talk over a node's socket: which chain it is on, and whether it announces heads."""

from __future__ import annotations

import asyncio
import json

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from chimera.errors import Retry
from chimera.rpc.endpoint import Endpoint
from chimera.rpc.faults import TimedOut, fault_of
from chimera.rpc.wire import TEXT, Answer, decoded, quantity

QUESTIONS: tuple[tuple[str, list[str]], ...] = (
    ("eth_chainId", []),
    ("eth_subscribe", ["newHeads"]),
)
MAX_MESSAGE = 1024 * 1024  # bytes
_ANSWER: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


async def greet(url: str, *, seconds: float) -> int:
    """
    Return the chain id of a WebSocket endpoint that also takes a subscription to new heads.

    Raises:
        Retry: It does not answer within `seconds`, or not what was asked.
        ChimeraError: It refuses one of the two.
    """
    endpoint = Endpoint(url)
    try:
        async with asyncio.timeout(seconds):
            return await _talk(url)
    except TimeoutError:
        raise TimedOut(f"no answer within {seconds:.0f} s") from None
    except (OSError, WebSocketException) as fault:
        raise Retry(endpoint.redact(f"{type(fault).__name__}: {fault}")) from None


async def _talk(url: str) -> int:
    async with connect(
        url, close_timeout=0.5, max_size=MAX_MESSAGE, compression=None, proxy=None
    ) as socket:
        answers: dict[int, str] = {}
        for number, (method, params) in enumerate(QUESTIONS):
            body = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            await socket.send(json.dumps(body))
        while len(answers) < len(QUESTIONS):
            frame = await socket.recv()
            answer = decoded(_ANSWER, frame.encode() if isinstance(frame, str) else frame, "socket")
            if isinstance(answer.id, int) and 0 <= answer.id < len(QUESTIONS):
                answers[answer.id] = _result(answer, QUESTIONS[answer.id][0])
    return quantity(answers[0])


def _result(answer: Answer, method: str) -> str:
    if answer.error is not None:
        raise fault_of(answer.error, method)
    return decoded(TEXT, answer.result, method)
