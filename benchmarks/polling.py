"""
Asking a node for every borrower's view, in the three ways in which bots do it.

The poller is as quick as one can be in Python: one connection that is kept, requests written
beforehand, msgspec for JSON, words cut out of the answers by hand, Chimera's own codec for
Multicall3. Whoever polls through a library takes several times as long.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from chimera.domain.block import Address
from chimera.domain.call import Call
from chimera.rpc.multicall import MULTICALL3, decode_results, encode_aggregate3
from chimera.rpc.wire import hexed, octets

PER_REQUEST = 500  # calls in one batch or multicall: what usual endpoints still answer
HEALTH_FACTOR = slice(5 * 32, 6 * 32)  # of getUserAccountData's answer
HEADERS = {"Content-Type": "application/json"}

T = TypeVar("T")


class Answered(msgspec.Struct):
    """What of a node's answer matters."""

    result: str


class Poller:
    """
    Polls a node for health factors at its newest block.

    Args:
        url: Of the node.
        calls: One per borrower, the pool's `getUserAccountData`.
    """

    def __init__(self, url: str, calls: Sequence[Call]) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)
        self._counts = [len(part) for part in _parts(calls)]
        self._single = [_body(call) for call in calls]
        self._batches = [b"[" + b",".join(part) + b"]" for part in _parts(self._single)]
        self._multicalls = [
            _body(Call(Address(MULTICALL3), encode_aggregate3(part))) for part in _parts(calls)
        ]

    @property
    def ways(self) -> dict[str, Callable[[], list[int]]]:
        """Every way by its name; all give the same health factors, in the order of the calls."""
        return {
            "one request each": self.singly,
            "JSON batches": self.batched,
            "Multicall3": self.multicalled,
        }

    def singly(self) -> list[int]:
        """Make one request for everybody."""
        answers = (self._asked(body, Answered) for body in self._single)
        return [_factor(octets(answer.result)) for answer in answers]

    def batched(self) -> list[int]:
        """Make JSON-RPC batches."""
        answers = (self._asked(body, list[Answered]) for body in self._batches)
        return [_factor(octets(answer.result)) for batch in answers for answer in batch]

    def multicalled(self) -> list[int]:
        """Make multicalls."""
        found = []
        for body, count in zip(self._multicalls, self._counts, strict=True):
            answer = octets(self._asked(body, Answered).result)
            found += [_factor(data) for _, data in decode_results(answer, count)]
        return found

    def _asked(self, body: bytes, kind: type[T]) -> T:
        self._connection.request("POST", "/", body, HEADERS)
        return msgspec.json.decode(self._connection.getresponse().read(), type=kind)


def _body(call: Call) -> bytes:
    asked: dict[str, Any] = {"to": hexed(call.to), "data": hexed(call.data)}
    params = [asked, "latest"]
    return msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": params})


def _parts(whole: Sequence[T]) -> Iterator[Sequence[T]]:
    return (whole[start : start + PER_REQUEST] for start in range(0, len(whole), PER_REQUEST))


def _factor(answer: bytes) -> int:
    return int.from_bytes(answer[HEALTH_FACTOR], "big")
