"""Many calls in one request, pinned to one block, through Multicall3.aggregate3."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from chimera.domain.block import Address, Block
from chimera.domain.call import (
    LONGEST_ANSWER,
    Answer,
    BoundedCall,
    Call,
    Grid,
    Readings,
    Slot,
    Words,
)
from chimera.errors import ChimeraError
from chimera.rpc.client import Rpc
from chimera.rpc.faults import Garbled, Reverted, TimedOut, TooHeavy, UnknownBlock, Unsupported
from chimera.rpc.wire import HEADER, TEXT, hexed, octets

# The same address on every chain that has it: https://github.com/mds1/multicall
MULTICALL3: Final = Address(bytes.fromhex("cA11bde05977b3631167028862bE2a173976CA11"))
AGGREGATE3: Final = bytes.fromhex("82ad56cb")  # aggregate3((address,bool,bytes)[])

MAX_CALLS = 500
MAX_DATA = 200_000  # bytes of call data in one request
ABSENT_FOR = 100  # blocks until a chain without Multicall3 is asked for it again
ENOUGH = 30_000_000  # gas for any view by itself, where one among many would not end
_WORD = 32


def _word(value: int) -> bytes:
    return value.to_bytes(_WORD, "big")


_MAY_FAIL = _word(1) + _word(3 * _WORD)  # and where the data stands


def encode_aggregate3(calls: Sequence[Call]) -> bytes:
    """Return the call data of `aggregate3`, every call allowed to fail."""
    offsets, bodies = [], []
    offset = _WORD * len(calls)
    for call in calls:
        data = call.data
        size = len(data).to_bytes(_WORD, "big")
        body = call.to.rjust(_WORD, b"\0") + _MAY_FAIL + size + data + bytes(-len(data) % _WORD)
        offsets.append(offset.to_bytes(_WORD, "big"))
        bodies.append(body)
        offset += len(body)
    return b"".join((AGGREGATE3, _word(_WORD), _word(len(calls)), *offsets, *bodies))


def aggregate3_text(calls: Sequence[Call]) -> str:
    """Return the same in hexadecimal; for a grid, put together from the texts of its parts."""
    if not isinstance(calls, Grid):
        return hexed(encode_aggregate3(calls))
    size = len(calls.questions[0].data) + _WORD
    padding = bytes(-size % _WORD)
    heads = [
        question.to.rjust(_WORD, b"\0") + _MAY_FAIL + _word(size) + question.data
        for question in calls.questions
    ]
    stride = len(heads[0]) + _WORD + len(padding)
    between = [*(head.hex() for head in heads), ""]  # where the last argument of a call stands
    rows = [(argument + padding).hex().join(between) for argument in calls.arguments]
    begin = AGGREGATE3 + _word(_WORD) + _offsets(len(calls), stride)
    return "".join((hexed(begin), *rows))


@lru_cache(maxsize=8)  # chunks have one size, but for the last
def _offsets(count: int, stride: int) -> bytes:
    """Return the head of an array: its length, then where each element stands, `stride` apart."""
    first = _WORD * count
    return b"".join([_word(count), *(_word(first + n * stride) for n in range(count))])


_RESULT = 4 * _WORD  # that succeeded with one word: true, where the data stands, its size, the word
_BEFORE = np.frombuffer(_word(1) + _word(2 * _WORD) + _word(_WORD), np.uint64)


def decode_words(data: bytes, count: int) -> bytes | None:
    """
    Return what `count` calls returned in a row, if all succeeded and each returned one word.

    None: it is an answer of another shape, see `decode_results`.
    """
    head = _word(_WORD) + _offsets(count, _RESULT)
    if len(data) != len(head) + count * _RESULT or not data.startswith(head):
        return None
    results = np.frombuffer(data, np.uint64, offset=len(head)).reshape(count, _RESULT // 8)
    if (results[:, : _BEFORE.size] != _BEFORE).any():
        return None
    return results[:, _BEFORE.size :].tobytes()


def decode_results(data: bytes, count: int) -> list[tuple[bool, bytes]]:
    """
    Return the `(success, returnData)` of each call.

    Raises:
        Garbled: `data` is not the answer to `count` calls.
    """
    number, length = int.from_bytes, len(data)  # thousands of accounts pass here at a start
    start = number(data[:_WORD], "big")
    base = start + _WORD
    if base + count * _WORD > length or number(data[start:base], "big") != count:
        raise Garbled(f"aggregate3: expected {count} results")
    results: list[tuple[bool, bytes]] = []
    for at in range(base, base + count * _WORD, _WORD):
        entry = base + number(data[at : at + _WORD], "big")
        body = entry + number(data[entry + _WORD : entry + 2 * _WORD], "big")
        first = body + _WORD
        end = first + number(data[body:first], "big")
        if entry + 2 * _WORD > length or end > length or first > length:
            raise Garbled("aggregate3: the answer is cut short")
        results.append((any(data[entry : entry + _WORD]), data[first:end]))
    return results


def _weight(call: Call) -> int:
    """Return about how many bytes a call takes in a request."""
    return len(call.data) + 5 * _WORD


def _request(call: Call, at: Any, gas: int | None) -> tuple[str, list[Any]]:  # noqa: ANN401
    to, data = hexed(call.to), hexed(call.data)
    match call:
        case Slot():
            return "eth_getStorageAt", [to, data, at]
        case BoundedCall():
            return "eth_call", [{"to": to, "data": data, "gas": hex(call.gas)}, at]
    limit = {} if gas is None else {"gas": hex(gas)}
    return "eth_call", [{"to": to, "data": data, **limit}, at]


def _answer(call: Call, outcome: Any) -> Answer:  # noqa: ANN401
    """
    Return what the call answered.

    Raises:
        ChimeraError: The node did not make the call; one with bounds has then broken them.
    """
    bounded = isinstance(call, BoundedCall)
    if isinstance(outcome, Reverted) or (bounded and isinstance(outcome, TooHeavy)):
        return None
    if isinstance(outcome, ChimeraError):
        raise outcome
    answered = octets(outcome)
    if isinstance(call, Slot):
        return answered.rjust(_WORD, b"\0")
    return None if bounded and len(answered) > LONGEST_ANSWER else answered


class Multicall:
    """
    Reads pinned to a block's hash (EIP-1898), in as few requests as the chain allows.

    A chunk that fails as a whole is halved; one that takes too long is asked call by call, with a
    limit to the gas of each. Without Multicall3 on the chain the calls go out as a
    JSON-RPC batch. A node that refuses block hashes is asked by number, and afterwards whether that
    number still has the same hash. Storage words, and calls with a bound on their gas, go out as a
    batch of their own.
    """

    def __init__(
        self,
        rpc: Rpc,
        *,
        address: Address = MULTICALL3,
        max_calls: int = MAX_CALLS,
        max_data: int = MAX_DATA,
    ) -> None:
        self._rpc = rpc
        self._address = address
        self._max_calls, self._max_data = max_calls, max_data
        self._chunk_limit = max_calls  # shrinks when the node gives up, and grows again slowly
        self._absent_since: int | None = None  # block number
        self._by_number = False

    async def read(self, calls: Sequence[Call], block: Block, *, purpose: str) -> Readings:
        """
        Make all calls at exactly this block.

        Raises:
            Retry: The node failed, or does not have this block (`UnknownBlock`).
            StateGone: It no longer has the state of this block.
        """
        distinct = calls if isinstance(calls, Grid) else list(dict.fromkeys(calls))
        if not self._by_number:
            try:
                return await self._read(distinct, block, {"blockHash": hexed(block.hash)}, purpose)
            except Unsupported:
                self._by_number = True
        readings = await self._read(distinct, block, hex(block.number), purpose)
        if distinct:
            await self._still_canonical(block, purpose)
        return readings

    async def _read(self, calls: Sequence[Call], block: Block, at: Any, purpose: str) -> Readings:  # noqa: ANN401
        if isinstance(calls, Grid) and len(calls) > 1 and not self._known_absent(block):
            return await self._read_grid(calls, block, at, purpose)
        alone: list[Call] = [call for call in calls if isinstance(call, Slot | BoundedCall)]
        joint = [call for call in calls if not isinstance(call, Slot | BoundedCall)]
        if len(joint) <= 1 or self._known_absent(block):
            alone, joint = [*alone, *joint], []
        parts = [self._aggregate(chunk, block, at, purpose) for chunk in self._chunks(joint)]
        parts += [
            self._one_by_one(alone[start : start + self._max_calls], at, purpose)
            for start in range(0, len(alone), self._max_calls)
        ]
        readings: dict[Call, Answer] = {}
        for part in await asyncio.gather(*parts):
            readings.update(part)
        return readings

    async def _read_grid(self, grid: Grid, block: Block, at: Any, purpose: str) -> Readings:  # noqa: ANN401
        chunks = self._rows(grid)
        parts = await asyncio.gather(
            *(self._aggregate(chunk, block, at, purpose) for chunk in chunks)
        )
        plain = [part.content for part in parts if isinstance(part, Words)]
        if len(plain) == len(parts):
            return Words(grid, b"".join(plain))
        return {call: answer for part in parts for call, answer in part.items()}

    def _rows(self, grid: Grid) -> list[Sequence[Call]]:
        """Cut a grid into chunks of whole rows, or of calls where one row is too long."""
        row = sum(_weight(question) + _WORD for question in grid.questions)
        most = min(self._chunk_limit // len(grid.questions), self._max_data // row)
        if most == 0:
            return list(self._chunks(list(grid)))
        return [grid.rows(at, at + most) for at in range(0, len(grid.arguments), most)]

    def _known_absent(self, block: Block) -> bool:
        return self._absent_since is not None and block.number < self._absent_since + ABSENT_FOR

    def _chunks(self, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
        chunk: list[Call] = []
        size = 0
        for call in calls:
            weight = _weight(call)
            if chunk and (len(chunk) >= self._chunk_limit or size + weight > self._max_data):
                yield chunk
                chunk, size = [], 0
            chunk.append(call)
            size += weight
        if chunk:
            yield chunk

    async def _aggregate(
        self,
        calls: Sequence[Call],
        block: Block,
        at: Any,  # noqa: ANN401
        purpose: str,
    ) -> Readings:
        request = {"to": hexed(self._address), "data": aggregate3_text(calls)}
        try:
            returned = octets(
                await self._rpc.call("eth_call", [request, at], TEXT, purpose=purpose)
            )
        except TimedOut:
            # Perhaps one of them never ends, on a node that sets no limit by itself.
            return await self._one_by_one(calls, at, purpose, gas=ENOUGH)
        except (Reverted, TooHeavy):
            if len(calls) == 1:
                return await self._one_by_one(calls, at, purpose)
            return await self._halved(calls, block, at, purpose)
        if not returned:
            self._absent_since = block.number
            return await self._one_by_one(calls, at, purpose)
        self._absent_since = None
        if isinstance(calls, Grid):
            words = decode_words(returned, len(calls))
            if words is not None:
                self._fitted(len(calls) + len(calls.questions) - 1)  # no further row would fit
                return Words(calls, words)
        return await self._judged(calls, decode_results(returned, len(calls)), at, purpose)

    async def _halved(self, calls: Sequence[Call], block: Block, at: Any, purpose: str) -> Readings:  # noqa: ANN401
        middle = len(calls) // 2
        self._chunk_limit = min(self._chunk_limit, len(calls) - middle)
        first = await self._aggregate(calls[:middle], block, at, purpose)
        return {**first, **await self._aggregate(calls[middle:], block, at, purpose)}

    async def _judged(
        self,
        calls: Sequence[Call],
        results: list[tuple[bool, bytes]],
        at: Any,  # noqa: ANN401
        purpose: str,
    ) -> Readings:
        """
        Take the results over, but ask again alone for calls that failed without a word.

        Such a call may just have run out of the gas that its neighbours used up. If it did, chunks
        become smaller by those that did not fit; chunks that fit grow again slowly.
        """
        readings: dict[Call, Answer] = {}
        unsure: list[Call] = []
        for call, (success, data) in zip(calls, results, strict=True):
            readings[call] = data if success else None
            if not success and not data:
                unsure.append(call)
        again = await self._one_by_one(unsure, at, purpose, gas=ENOUGH)
        starved = sum(answer is not None for answer in again.values())
        if starved:
            self._chunk_limit = max(1, min(self._chunk_limit, len(calls) - starved))
        else:
            self._fitted(len(calls))
        return {**readings, **again}

    def _fitted(self, size: int) -> None:
        """Let chunks grow again after one that had room for so many calls at most."""
        if size >= self._chunk_limit:
            self._chunk_limit = min(self._max_calls, self._chunk_limit * 9 // 8 + 1)

    async def _one_by_one(
        self,
        calls: Sequence[Call],
        at: Any,  # noqa: ANN401
        purpose: str,
        *,
        gas: int | None = None,
    ) -> Readings:
        if not calls:
            return {}
        requests = [_request(call, at, gas) for call in calls]
        outcomes = await self._rpc.batch(requests, TEXT, purpose=purpose)
        return {call: _answer(call, outcome) for call, outcome in zip(calls, outcomes, strict=True)}

    async def _still_canonical(self, block: Block, purpose: str) -> None:
        asked = [hex(block.number), False]
        header = await self._rpc.call("eth_getBlockByNumber", asked, HEADER, purpose=purpose)
        if header is None or header.block().hash != block.hash:
            raise UnknownBlock(f"block {block.number} changed while it was read")
