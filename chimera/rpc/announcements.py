"""What is said over a node's socket, as a state machine without a socket."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from chimera.domain.block import Block, BlockHash, Log, LogQuery
from chimera.errors import ChimeraError
from chimera.rpc.faults import NodeError, TimedOut, WrongChain, fault_of
from chimera.rpc.wire import UNREADABLE, Filter, Header, WireLog, decoded, quantity, word

NOTHING = LogQuery(frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Connected:
    """
    Announcements flow from here on; what was missed has to be asked for.

    `endpoint` is the public name of who announces.
    """

    endpoint: str = field(default="subscription", compare=False)


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Nothing is announced until the next `Connected`."""


@dataclass(frozen=True, slots=True)
class Silent:
    """No head came for a while: the node is being asked, and whoever else knows should be, too."""


@dataclass(frozen=True, slots=True)
class Probed:
    """After a silence the node said how far it is, which may be less than before (`evm_revert`)."""

    number: int


@dataclass(frozen=True, slots=True)
class NewHead:
    """
    A block became the newest.

    Attributes:
        block: Its header.
        arrived_ns: When we heard of it, nanoseconds of `time.monotonic_ns`.
        watched: The logs that were surely subscribed to while it came, None when unknown.
    """

    block: Block
    arrived_ns: int
    watched: LogQuery | None = None


class NewLogs(msgspec.Struct, frozen=True, gc=False):
    """Logs of one block were announced in a row, or with `removed` withdrawn."""

    block_hash: BlockHash
    logs: list[Log]
    removed: bool = False


Event = Connected | Disconnected | Silent | Probed | NewHead | NewLogs


class _Params(msgspec.Struct, gc=False):
    subscription: str
    result: msgspec.Raw


class _Message(msgspec.Struct, gc=False):
    id: int | None = None  # of the request that this answers
    params: _Params | None = None  # of an announcement
    result: msgspec.Raw = msgspec.Raw(b"")
    error: NodeError | None = None


class _LogParams(msgspec.Struct, gc=False):
    subscription: str
    result: WireLog


class _AnnouncedLog(msgspec.Struct, gc=False):
    params: _LogParams


_ANNOUNCED: msgspec.json.Decoder[_AnnouncedLog] = msgspec.json.Decoder(_AnnouncedLog)
_MESSAGE: msgspec.json.Decoder[_Message] = msgspec.json.Decoder(_Message)
_HEADER: msgspec.json.Decoder[Header] = msgspec.json.Decoder(Header)
_LOG: msgspec.json.Decoder[WireLog] = msgspec.json.Decoder(WireLog)
_TEXT: msgspec.json.Decoder[str] = msgspec.json.Decoder(str)


@dataclass(frozen=True, slots=True)
class _Question:
    """A request that is not answered yet: `query` is subscribed to, `given_up` no longer is."""

    method: str
    query: LogQuery | None = None
    given_up: str | None = None


class Conversation:
    """
    One connection from its opening to its end.

    The shell around it sends what `outgoing` returns, hands over what comes by `take`, and calls
    `tick` when `wait` seconds have gone by. All times are seconds of one monotonic clock. `timeout`
    holds for every answer, `patience` (by default the same) for those after a `silence`. With
    `chain_id` the node has to name its chain before anything of it counts.
    """

    def __init__(
        self,
        *,
        silence: float | None,
        timeout: float,
        now: float,
        patience: float | None = None,
        chain_id: int | None = None,
        endpoint: str = "subscription",
    ) -> None:
        self._silence, self._timeout = silence, timeout
        self._patience = timeout if patience is None else patience
        self._chain_id, self._endpoint = chain_id, endpoint
        self._quiet_since = now
        self._head: int | None = None  # newest number announced
        self._promised: int | None = None  # number that the node has, but did not announce
        self._give_up_at: float | None = None
        self._questions: dict[int, _Question] = {}
        self._asked = 0
        self._outgoing: list[tuple[str, str]] = []
        self._heads: str | None = None  # subscription ids
        self._logs: dict[str, LogQuery] = {}
        self._ending: set[str] = set()  # given up, but logs of theirs may still be on the way
        self._wanted, self._filter = NOTHING, Filter(NOTHING)
        self._surely_watched: LogQuery | None = None
        if chain_id is None:
            self._ask("eth_subscribe", ["newHeads"], now)
        else:
            self._ask("eth_chainId", [], now)

    def outgoing(self) -> list[tuple[str, str]]:
        """Return the (method, text frame) pairs to send now, each once."""
        frames, self._outgoing = self._outgoing, []
        return frames

    def watch(self, query: LogQuery, now: float) -> None:
        """Subscribe to these logs; the older subscription ends once this one stands."""
        if query != self._wanted:
            self._wanted, self._filter = query, Filter(query)
            if query.addresses and query.topics:
                self._ask("eth_subscribe", ["logs", self._filter.members], now, query)

    def wait(self, now: float) -> float | None:
        """Return the seconds until the next `tick` is due, None when only the node can act."""
        silent_at = None if self._silence is None else self._quiet_since + self._silence
        due = [at for at in (self._give_up_at, silent_at) if at is not None]
        return max(0.0, min(due) - now) if due else None

    def tick(self, now: float) -> Event | None:
        """
        Notice silence: ask how far the node is, unless it owes an answer already.

        Raises:
            TimedOut: It owes an answer, or a head that it has.
        """
        if self._give_up_at is not None and now >= self._give_up_at:
            owed = "an answer" if self._promised is None else f"head {self._promised}"
            raise TimedOut(f"the node went silent: it owes {owed}")
        if self._silence is not None and now >= self._quiet_since + self._silence:
            self._quiet_since = now
            if not self._questions:
                self._ask("eth_blockNumber", [], now)
            until = now + self._patience
            self._give_up_at = until if self._give_up_at is None else min(until, self._give_up_at)
            return Silent()
        return None

    def take(self, messages: Iterable[str | bytes], now: float) -> Iterator[Event]:
        """
        Understand messages in the order in which they came.

        Raises:
            ChimeraError: The node refuses the subscription, or talks nonsense. What it said before
                has been told by then.
        """
        told: list[Event] = []
        try:
            self._understand(messages, now, told)
        except ChimeraError:
            yield from told
            raise
        yield from told

    def _understand(self, messages: Iterable[str | bytes], now: float, told: list[Event]) -> None:
        row, text = None, ""  # the logs told last, and their block's hash as the node writes it
        for message in messages:
            wire = self._log(message)
            if wire is None:
                event = self._other(message, now)
                if event is not None:
                    told.append(event)
                    row = None
                continue
            log = self._filter.log(wire) or wire.log()
            if row is None or wire.block_hash != text or wire.removed is not row.removed:
                text = wire.block_hash
                row = NewLogs(BlockHash(word(text)), [], wire.removed)
                told.append(row)
            row.logs.append(log)

    def _log(self, message: str | bytes) -> WireLog | None:
        """Look whether it is a log, as nearly all are; a closer look finds out what else it is."""
        try:
            params = _ANNOUNCED.decode(message).params
        except UNREADABLE:
            return None
        wanted = params.subscription in self._logs or params.subscription in self._ending
        return params.result if wanted else None

    def _other(self, frame: str | bytes, now: float) -> Event | None:
        message = decoded(_MESSAGE, frame, "socket")
        if message.params is not None:
            return self._announced(message.params, now)
        question = self._questions.pop(message.id or 0, None)
        if question is None:
            return None
        if not self._questions and self._promised is None:
            self._give_up_at = None
        return self._answered(question, message, now)

    def _announced(self, params: _Params, now: float) -> Event | None:
        if params.subscription == self._heads:
            block = decoded(_HEADER, params.result, "newHeads").block()
            self._head, self._quiet_since = block.number, now
            if self._promised is not None and block.number >= self._promised:
                self._promised = None
                self._give_up_at = None if not self._questions else self._give_up_at
            watched, self._surely_watched = self._surely_watched, self._watching()
            return NewHead(block, time.monotonic_ns(), watched)
        if params.subscription in self._logs or params.subscription in self._ending:
            decoded(_LOG, params.result, "logs")  # tells what kept the first look from reading it
        return None

    def _answered(self, question: _Question, message: _Message, now: float) -> Event | None:
        if question.given_up is not None:
            self._ending.discard(question.given_up)
            return None
        if message.error is not None:
            if question.query is not None:
                return None  # logs by subscription are a second opinion: we live without
            raise fault_of(message.error, question.method)
        result = decoded(_TEXT, message.result, question.method)
        if question.method == "eth_blockNumber":
            return self._probed(quantity(result), now)
        if question.method == "eth_chainId":
            if (chain := quantity(result)) != self._chain_id:
                raise WrongChain(f"it is on chain {chain}, not on {self._chain_id}")
            self._ask("eth_subscribe", ["newHeads"], now)
            return None
        if question.query is None:
            self._heads = result
            return Connected(self._endpoint)
        for older in list(self._logs):
            self._ask("eth_unsubscribe", [older], now, given_up=older)
            self._ending.add(older)
            del self._logs[older]
        self._logs[result] = question.query
        return None

    def _probed(self, number: int, now: float) -> Event:
        if self._head is not None and number > self._head:
            self._promised = number  # its announcement may be on the way
            self._give_up_at = now + self._patience
        self._head = number
        return Probed(number)

    def _watching(self) -> LogQuery | None:
        return next(iter(self._logs.values()), None)

    def _ask(
        self,
        method: str,
        params: list[Any],
        now: float,
        query: LogQuery | None = None,
        *,
        given_up: str | None = None,
    ) -> None:
        self._asked += 1
        self._questions[self._asked] = _Question(method, query, given_up)
        body = {"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params}
        self._outgoing.append((method, msgspec.json.encode(body).decode()))
        if self._give_up_at is None:
            self._give_up_at = now + self._timeout
