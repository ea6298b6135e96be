"""JSON-RPC over HTTP to one endpoint: batches, shared answers, time limits, retries."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import aiohttp
import msgspec

from chimera.errors import ChimeraError, RangeTooWide, Retry
from chimera.rpc.endpoint import Endpoint
from chimera.rpc.faults import (
    AskedToWait,
    BatchTooLarge,
    Denied,
    Garbled,
    TimedOut,
    TooHeavy,
    fault_of,
    fault_of_status,
    pause_asked_for,
    too_large,
)
from chimera.rpc.pauses import Pauses
from chimera.rpc.wire import Answer, decoded

T = TypeVar("T")
F = TypeVar("F", bound=ChimeraError)

Request = tuple[str, Sequence[Any]]
"""A method and its parameters."""

OnRequest = Callable[[str, str, str], None]
"""Told of every request that goes out: endpoint label, method, purpose."""

MAX_BATCH = 100  # requests; most providers allow this many
MAX_BODY = 1_500_000  # bytes; Anvil refuses bodies over 2 MB
MAX_ANSWER = 64 * 1024 * 1024  # bytes of one body: an endpoint may send without end
MAX_CONNECTIONS = 8  # bodies under way at once, so that a bootstrap does not look like an attack
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between tries
_HEADERS = {"Content-Type": "application/json"}
_ABOUT_US = frozenset({401, 402, 403, 429})  # whatever the body says, it is not about the request
_OBJECT: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_ARRAY: msgspec.json.Decoder[list[Answer]] = msgspec.json.Decoder(list[Answer])


class Rpc(Protocol):
    """Whoever answers JSON-RPC requests: one endpoint, or a pool of them."""

    async def call(
        self, method: str, params: Sequence[Any], decoder: msgspec.json.Decoder[T], *, purpose: str
    ) -> T:
        """Make one request and return its decoded result. Raises ChimeraError."""

    async def batch(
        self, requests: Sequence[Request], decoder: msgspec.json.Decoder[T], *, purpose: str
    ) -> list[T | ChimeraError]:
        """Make many requests; a fault that belongs to one of them stands in its place."""

    async def aclose(self) -> None:
        """Close all connections."""


def may_work_again(error: BaseException) -> bool:
    """Tell whether the same request to the same endpoint is worth repeating."""
    if not isinstance(error, Retry) or error.pause > LONGEST_PAUSE:
        return False
    return not isinstance(error, RangeTooWide | BatchTooLarge | TooHeavy | Denied)


def _bare(fault: F) -> F:
    """Return a fault without the frames that it came through: they hold it, and it holds them."""
    fault.__context__ = None
    return fault.with_traceback(None)


class _Asked:
    """One request on its way, and whoever waits for its answer."""

    def __init__(self, key: bytes, number: int, request: Request, decoder: Any) -> None:  # noqa: ANN401
        self.key, self.number, self.decoder = key, number, decoder
        self.method, self.params = request
        self.body = msgspec.json.encode(
            {"jsonrpc": "2.0", "id": number, "method": self.method, "params": self.params}
        )
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(self, outcome: object) -> None:
        if self.future.done():
            return
        if isinstance(outcome, ChimeraError):
            self.future.set_exception(outcome)
            self.future.exception()  # whoever waited may be gone: then nobody is to be warned
        else:
            self.future.set_result(outcome)

    def outcome(self, answer: Answer | None) -> object:
        if answer is None:
            return Garbled(f"{self.method}: no answer with its id")
        if answer.error is not None:
            return fault_of(answer.error, self.method)
        try:
            return decoded(self.decoder, answer.result, self.method)
        except Garbled as fault:
            return fault


class HttpClient:
    """
    One endpoint.

    Identical requests that are under way at the same time share one answer. What may work again is
    repeated with growing pauses; what cannot is raised at once. `timeout` (seconds) holds for each
    try. Use it within one event loop, and `aclose` it.
    """

    def __init__(
        self,
        endpoint_url: str,
        *,
        timeout: float = 10.0,
        attempts: int = 4,
        first_pause: float = FIRST_PAUSE,
        max_batch: int = MAX_BATCH,
        max_body: int = MAX_BODY,
        on_request: OnRequest = lambda _endpoint, _method, _purpose: None,
    ) -> None:
        self.endpoint = Endpoint(endpoint_url)
        self._timeout = timeout
        self._max_batch, self._max_body = max_batch, max_body
        self._on_request = on_request
        self._numbers = itertools.count(1)
        self._under_way: dict[bytes, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._session: aiohttp.ClientSession | None = None
        self._attempts, self._pauses = attempts, Pauses(first_pause, LONGEST_PAUSE)

    async def call(
        self, method: str, params: Sequence[Any], decoder: msgspec.json.Decoder[T], *, purpose: str
    ) -> T:
        """
        Make one request.

        Raises:
            Retry: It failed and may work later (`RangeTooWide`, `UnknownBlock`, `Denied`, ...).
            ChimeraError: It cannot succeed (`Reverted`, `Unsupported`, ...).
        """
        # No name for the future: its fault holds this frame, and would hold itself by it.
        result: T = await asyncio.shield(self._ask([(method, params)], decoder, purpose)[0])
        return result

    async def batch(
        self, requests: Sequence[Request], decoder: msgspec.json.Decoder[T], *, purpose: str
    ) -> list[T | ChimeraError]:
        """Make many requests in as few bodies as allowed; faults stand in their places."""
        futures = self._ask(requests, decoder, purpose)
        answers = asyncio.gather(*map(asyncio.shield, futures), return_exceptions=True)
        outcomes: list[T | ChimeraError] = []
        for outcome in await answers:
            if isinstance(outcome, BaseException) and not isinstance(outcome, ChimeraError):
                raise outcome
            outcomes.append(outcome)
        return outcomes

    async def aclose(self) -> None:
        """Give up what is under way and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _ask(
        self,
        requests: Sequence[Request],
        decoder: Any,  # noqa: ANN401  (its type is the caller's)
        purpose: str,
    ) -> list[asyncio.Future[Any]]:
        futures: list[asyncio.Future[Any]] = []
        fresh: list[_Asked] = []
        for request in requests:
            key = msgspec.json.encode(request)
            if key not in self._under_way or self._under_way[key].done():
                asked = _Asked(key, next(self._numbers), request, decoder)
                self._under_way[key] = asked.future
                fresh.append(asked)
            futures.append(self._under_way[key])
        for chunk in self._chunks(fresh):
            task = asyncio.create_task(self._settle(chunk, purpose))
            self._tasks.add(task)
            task.add_done_callback(partial(self._finished, chunk))
        return futures

    def _finished(self, asked: list[_Asked], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        for one in asked:
            if self._under_way.get(one.key) is one.future:
                del self._under_way[one.key]
            if error is not None and not one.future.done():
                one.future.set_exception(error)  # a fault of ours: whoever waits shall see it
            one.future.cancel()  # does nothing to what is settled

    def _chunks(self, asked: Sequence[_Asked]) -> Iterator[list[_Asked]]:
        chunk: list[_Asked] = []
        size = 0
        for one in asked:
            full = len(chunk) >= self._max_batch or size + len(one.body) > self._max_body
            if chunk and full:
                yield chunk
                chunk, size = [], 0
            chunk.append(one)
            size += len(one.body) + 1
        if chunk:
            yield chunk

    async def _settle(self, asked: list[_Asked], purpose: str) -> None:
        try:
            await self._patiently(asked, purpose)
        except BatchTooLarge as fault:
            if len(asked) == 1:
                asked[0].settle(_bare(fault))
                return
            self._max_batch = min(self._max_batch, (len(asked) + 1) // 2)
            for chunk in self._chunks(asked):
                await self._settle(chunk, purpose)
        except ChimeraError as fault:
            for one in asked:
                one.settle(_bare(fault))

    async def _patiently(self, asked: list[_Asked], purpose: str) -> None:
        """
        Exchange until all is settled or the tries are used up.

        A plain loop leaves no cycles behind: the garbage collector hardly ever runs.
        """
        tries = 0
        while True:
            tries += 1
            try:
                return await self._exchange(asked, purpose)
            except Retry as fault:
                if tries >= self._attempts or not may_work_again(fault):
                    raise
                pause = self._pauses.after(tries, _bare(fault))
            await asyncio.sleep(pause)

    async def _exchange(self, asked: list[_Asked], purpose: str) -> None:
        """Send what is open once and settle what is final. Raises the first fault that is not."""
        still_open = [one for one in asked if not one.future.done()]
        async with self._slots:
            status, body = await self._post(still_open, purpose)
        answers = self._answers(status, body, still_open)
        unsettled: list[Retry] = []
        for one in still_open:
            outcome = one.outcome(answers.get(one.number))
            if isinstance(outcome, Retry) and may_work_again(outcome):
                unsettled.append(outcome)
            else:
                one.settle(self._redacted(outcome))
        if unsettled:
            raise self._redacted(unsettled[0])

    def _answers(self, status: int, body: bytes, asked: list[_Asked]) -> dict[int, Answer]:
        batch = len(asked) > 1
        method = "" if batch else asked[0].method
        if status in _ABOUT_US:
            raise self._redacted(fault_of_status(status, method))
        try:
            if batch and body.lstrip()[:1] == b"[":
                answers = decoded(_ARRAY, body, "batch")
                return {answer.id: answer for answer in answers if isinstance(answer.id, int)}
            answer = decoded(_OBJECT, body, method or "batch")
        except Garbled:
            if status >= 400:  # noqa: PLR2004  (every HTTP status from here on is an error)
                fault = fault_of_status(status, method)
            else:
                fault = Garbled(f"{method or 'batch'}: the answer is not JSON-RPC")
            raise self._redacted(fault) from None
        if answer.error is not None and (batch or answer.id is None):
            raise self._redacted(fault_of(answer.error, method))
        return {answer.id: answer} if isinstance(answer.id, int) else {}

    async def _post(self, asked: list[_Asked], purpose: str) -> tuple[int, bytes]:
        for one in asked:
            self._on_request(self.endpoint.label, one.method, purpose)
        body = b",".join(one.body for one in asked)
        if len(asked) > 1:
            body = b"[" + body + b"]"
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._opened().post(self.endpoint.url, data=body, headers=_HEADERS) as response,
            ):
                seconds = pause_asked_for(response.status, response.headers.get("Retry-After"))
                if seconds is not None:
                    said = f"{asked[0].method}: HTTP {response.status}, wait {seconds:.0f} s"
                    raise self._redacted(AskedToWait(said, seconds))
                return response.status, await self._read(response, asked)
        except TimeoutError:
            said = f"{self.endpoint.label}: {asked[0].method}: no answer in {self._timeout:g} s"
            raise TimedOut(said) from None
        except (aiohttp.ClientError, OSError) as error:
            # The texts of aiohttp may carry the URL, and with it a key: the kind has to do.
            error.__traceback__ = None  # which holds `asked`, and others hold the error
            said = f"{self.endpoint.label}: {asked[0].method}: {type(error).__name__}"
            raise Retry(said) from None

    async def _read(self, response: aiohttp.ClientResponse, asked: list[_Asked]) -> bytes:
        """Return the body, decompressed. Raises where it is larger than `MAX_ANSWER`."""
        body = bytearray()
        async for part in response.content.iter_any():
            body += part
            if len(body) > MAX_ANSWER:
                method = asked[0].method
                said = f"{method}: the answer is larger than {MAX_ANSWER} bytes"
                raise self._redacted(too_large(said, "" if len(asked) > 1 else method))
        return bytes(body)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session

    def _redacted(self, outcome: T) -> T:
        if isinstance(outcome, ChimeraError):
            outcome.args = (f"{self.endpoint.label}: {self.endpoint.redact(str(outcome))}",)
        return outcome
