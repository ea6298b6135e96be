"""Proof before the start: a node answers, and every endpoint is on the configured chain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any

from chimera.app.build import Chain
from chimera.chain.reader import RpcReader
from chimera.chain.sequencer import Sequencer
from chimera.domain.block import Block
from chimera.errors import ChimeraError, Refuse, Unreachable
from chimera.ports import ChainReader
from chimera.rpc.endpoint import Endpoint
from chimera.rpc.greeting import greet

PATIENCE, PAUSE = 15.0, 0.5  # seconds: for a node to answer at all, and between two questions
GREETING = 5.0  # seconds for one WebSocket endpoint

Answer = int | ChimeraError


async def prove_node(chain: Chain) -> None:
    """
    Wait for a node, and check that no endpoint that answers is on another chain.

    An endpoint that does not answer is no reason not to start, as long as one of `rpc.http` does.

    Raises:
        Unreachable: None of `rpc.http` answers within `PATIENCE` seconds.
        Refuse: One is on another chain, or the sequencer-uptime feed is none.
    """
    answers = await _first_answers(chain)
    _compare(chain, "rpc.http", [client.endpoint for client in chain.clients], answers)
    urls = chain.settings.rpc.ws
    answers = await _answers(greet(url, seconds=GREETING) for url in urls)
    _compare(chain, "rpc.ws", [Endpoint(url) for url in urls], answers)
    if chain.sequencer is not None:
        await _prove_sequencer(chain.reader, chain.sequencer)


async def _prove_sequencer(reader: ChainReader, sequencer: Sequencer) -> None:
    fault: Exception = TimeoutError("no answer")
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await ask_sequencer(reader, sequencer)
                except Refuse:
                    raise
                except ChimeraError as error:
                    fault = error
                    await asyncio.sleep(PAUSE)
                else:
                    return
    except TimeoutError:
        raise Unreachable(f"chain.sequencer_feed cannot be asked: {fault}") from None


async def ask_sequencer(reader: ChainReader, sequencer: Sequencer) -> Block:
    """
    Prove the sequencer-uptime feed at the newest block; return that block.

    Raises:
        Refuse: It is none.
        ChimeraError: The node failed.
    """
    block = await reader.head()
    readings = await reader.read((sequencer.call,), block)
    sequencer.prove(block, readings[sequencer.call])
    return block


async def _first_answers(chain: Chain) -> list[Answer]:
    readers = [RpcReader(client) for client in chain.clients]
    answers: list[Answer] = []
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                answers = await _answers(reader.chain_id() for reader in readers)
                if any(isinstance(answer, int) for answer in answers):
                    return answers
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        why = next((str(answer) for answer in answers), "no answer")
        raise Unreachable(
            f"rpc.http: no endpoint answered within {PATIENCE:.0f} s: {why}"
        ) from None


async def _answers(questions: Iterable[Coroutine[Any, Any, int]]) -> list[Answer]:
    """Ask all at once. A stop meanwhile waits until every socket is closed."""
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(_asked(question)) for question in questions]
    return [task.result() for task in asked]


async def _asked(question: Awaitable[int]) -> Answer:
    try:
        return await question
    except ChimeraError as fault:
        return fault


def _compare(chain: Chain, key: str, endpoints: list[Endpoint], answers: list[Answer]) -> None:
    expected = chain.settings.chain.id
    for endpoint, answer in zip(endpoints, answers, strict=True):
        if isinstance(answer, int) and answer != expected:
            raise Refuse(
                f"{key}: {endpoint.label} is on chain {answer}, chain.id says {expected}; "
                "point it at the right chain"
            )
