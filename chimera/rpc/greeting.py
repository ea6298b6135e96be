"""One short talk over a node's socket: which chain it is on, and whether it announces heads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

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


STANDING: tuple[tuple[str, list[str]], ...] = (("eth_chainId", []), ("eth_blockNumber", []))


async def greet(url: str, *, seconds: float) -> int:
    """
    Return the chain id of a WebSocket endpoint that also takes a subscription to new heads.

    Raises:
        Retry: It does not answer within `seconds`, or not what was asked.
        ChimeraError: It refuses one of the two.
    """
    return quantity((await _asked(url, QUESTIONS, seconds))[0])


async def standing(url: str, *, seconds: float) -> tuple[int, int]:
    """
    Return the chain id of a WebSocket endpoint and the number of its newest block.

    Raises:
        Retry: It does not answer within `seconds`, or not what was asked.
        ChimeraError: It refuses one of the two.
    """
    chain, number = await _asked(url, STANDING, seconds)
    return quantity(chain), quantity(number)


async def _asked(url: str, questions: Sequence[tuple[str, list[str]]], seconds: float) -> list[str]:
    endpoint = Endpoint(url)
    try:
        async with asyncio.timeout(seconds):
            return await _talk(url, questions)
    except TimeoutError:
        raise TimedOut(f"no answer within {seconds:.0f} s") from None
    except (OSError, WebSocketException) as fault:
        raise Retry(endpoint.redact(f"{type(fault).__name__}: {fault}")) from None


async def _talk(url: str, questions: Sequence[tuple[str, list[str]]]) -> list[str]:
    async with connect(
        url, close_timeout=0.5, max_size=MAX_MESSAGE, compression=None, proxy=None
    ) as socket:
        answers: dict[int, str] = {}
        for number, (method, params) in enumerate(questions):
            body = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            await socket.send(json.dumps(body))
        while len(answers) < len(questions):
            frame = await socket.recv()
            answer = decoded(_ANSWER, frame.encode() if isinstance(frame, str) else frame, "socket")
            if isinstance(answer.id, int) and 0 <= answer.id < len(questions):
                answers[answer.id] = _result(answer, questions[answer.id][0])
    return [answers[number] for number in range(len(questions))]


def _result(answer: Answer, method: str) -> str:
    if answer.error is not None:
        raise fault_of(answer.error, method)
    return decoded(TEXT, answer.result, method)
