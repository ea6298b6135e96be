"""What a node's refusals mean: each wording of each provider, turned into an error of ours."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import msgspec

from chimera.errors import ChimeraError, RangeTooWide, Rebuild, Retry


class Denied(Retry):
    """The endpoint refuses us as such (bad key, spent quota): another one may answer."""


class AskedToWait(Retry):
    """The endpoint has too much to do, and says after what `pause` it wants to be asked again."""

    def __init__(self, said: str, pause: float) -> None:
        super().__init__(said)
        self.pause = pause


class WrongChain(Retry):
    """The endpoint is on another chain than ours: it is of no use until that changes."""


class UnknownBlock(Retry):
    """The node does not have this block: it lags behind, or the block left the chain."""


class BatchTooLarge(Retry):
    """The node refuses this many requests at once: send fewer."""


class TooHeavy(Retry):
    """The node gives up on this one request for its size or its length: ask for less."""


class StateGone(Rebuild):
    """The node has the block, but no longer the state that belonged to it."""


class Reverted(ChimeraError):
    """The call ran and failed: reverted, out of gas, or an invalid instruction."""


class Garbled(Retry):
    """The node answered something that is no answer to what was asked."""


class TimedOut(Retry):
    """No answer came in time."""


class Unsupported(ChimeraError):
    """The node does not know the method, or not this form of its parameters."""


class NodeError(msgspec.Struct, gc=False):
    """The `error` member of a JSON-RPC answer."""

    code: int = 0
    message: str = ""
    data: Any = None


def _any_of(*wordings: str) -> re.Pattern[str]:
    return re.compile("|".join(wordings), re.IGNORECASE)


# Anvil names both heights: past the head the block is yet unknown, under it its state was pruned.
_ANVIL_HEIGHTS = re.compile(r"block height is (\d{1,20}) but requested was (\d{1,20})\b")

_STATE_GONE = _any_of(
    r"missing trie node",
    r"historical state",
    r"state (is )?(not available|unavailable|already discarded|has been pruned)",
    r"state .{0,80}(not available|pruned)",
    r"no state available",
    r"prun(ed|ing)",
    r"archive (node|data|mode|request|access|state)",
)

_UNKNOWN_BLOCK = _any_of(
    r"header (for hash )?not found",
    r"(unknown|unfinalized|future) (block|header|data)",
    r"block (with .{0,80})?(requested )?(was )?not found",
    r"resource not found",
    r"(cannot|could not|can't) (find|be found|locate) .{0,20}block",
    r"one of the blocks specified in filter .{0,80}cannot be found",
    r"not (currently )?canonical",
    r"(beyond|greater than|after|above) .{0,20}(current|latest|head|last)",
    r"block .{0,40}in the future",
)

_RANGE_TOO_WIDE = _any_of(
    r"block range",
    r"blocks? (distance|span)",
    r"range (is |was )?(limit|too|exceed|of \d+)",
    r"max(imum)? (allowed )?(block )?range",
    r"limited to .{0,30}(range|blocks?|logs|results)",
    r"(too many|more than [\d,]+|over [\d,]+) (results|logs|blocks|events|records)",
    r"(max(imum)?|exceeds?) .{0,20}(results|logs|blocks|block range)",
    r"ranges? over [\d,]+",
    r"(response|result|reply|content)s? .{0,20}(exceed|too (big|large|long))",
    r"limit exceeded",
    r"query (timeout|took too long)|timed? ?out|deadline exceeded|execution aborted",
    r"(narrow|reduce|smaller|decrease) .{0,40}(range|query|request|filter)",
)

_TOO_MANY_REQUESTS = _any_of(
    r"too many (requests|connections|concurrent)",
    r"(rate|requests?|throughput|credits?|compute units?|quota|daily|monthly|capacity)"
    r"( (count|rate|usage|units?|requests?|credits?|quota|is|are|was|has been)){0,4}"
    r" ?(limit(?!ed to)|exceed|reached)",
    r"per[ -]second",
    r"throttl",
)

_REVERTED = _any_of(
    r"revert",
    r"evm error",
    r"out of gas|outofgas|gas required exceeds|intrinsic gas",
    r"invalid (opcode|jump|fe ?opcode)",
    r"stack (underflow|overflow)",
    r"vm execution error",
)

_TOO_HEAVY = _any_of(
    r"execution (aborted|timeout|timed out)",
    r"(request|body|payload|call ?data) .{0,20}too (big|large|long)",
    r"request timed? ?out",
)

_BATCH_TOO_LARGE = _any_of(
    r"batch[\w ]{0,30}(too (large|big|many|long)|limit|exceed|more than|maximum|max)",
    r"(too (large|big|many)|max(imum)?|more than|limit|exceeds?)[\w :]{0,30}batch",
)

_NODE_IS_DENYING = _any_of(
    r"(invalid|missing|unknown|unauthorized|must .{0,30}) ?(api|access|project)[ -]?(key|token|id)",
    r"unauthorized|forbidden|not authori[sz]ed|authenticate",
)

_PARSE_ERROR, _INVALID_REQUEST, _METHOD_NOT_FOUND, _INVALID_PARAMS = -32700, -32600, -32601, -32602
_REJECTED, _METHOD_NOT_SUPPORTED, _VERSION_NOT_SUPPORTED = -32003, -32004, -32006  # EIP-1474
_REVERT = 3  # as geth has it
_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
LONGEST_ASKED_PAUSE = 60  # seconds; shorter than the silence after which systemd ends a daemon
_CALLS = frozenset({"eth_call", "eth_estimateGas"})


def fault_of(error: NodeError, method: str) -> ChimeraError:
    """
    Name the reaction to a JSON-RPC error.

    Args:
        error: What the node answered.
        method: The method that was asked; "" when a whole batch was refused.

    Returns:
        `RangeTooWide` (logs only), `UnknownBlock` or another `Retry` when it may work again;
        `StateGone`, `Reverted`, `Unsupported` or a bare `ChimeraError` when it cannot.
    """
    said = f"{method or 'batch'}: {error.message or 'no message'} ({error.code})"
    return _by_wording(error, method, said) or _by_code(error.code, said)


def _by_wording(error: NodeError, method: str, said: str) -> ChimeraError | None:
    message = error.message
    if method in _CALLS and (error.code == _REVERT or _REVERTED.search(message)):
        return Reverted(said)
    if heights := _ANVIL_HEIGHTS.search(message):
        height, requested = map(int, heights.groups())
        return StateGone(said) if requested <= height else UnknownBlock(said)
    table: list[tuple[re.Pattern[str], type[ChimeraError]]] = [
        (_TOO_MANY_REQUESTS, Retry),
        (_UNKNOWN_BLOCK, UnknownBlock),
        (_STATE_GONE, StateGone),
        (_NODE_IS_DENYING, Denied),
        (_TOO_HEAVY, TooHeavy),
    ]
    if method == "eth_getLogs":
        table.insert(2, (_RANGE_TOO_WIDE, RangeTooWide))
    if not method:
        table.insert(0, (_BATCH_TOO_LARGE, BatchTooLarge))
    return next((kind(said) for wording, kind in table if wording.search(message)), None)


def _by_code(code: int, said: str) -> ChimeraError:
    if code in {_METHOD_NOT_FOUND, _METHOD_NOT_SUPPORTED, _VERSION_NOT_SUPPORTED, _INVALID_PARAMS}:
        return Unsupported(said)
    if code in {_PARSE_ERROR, _INVALID_REQUEST, _REJECTED}:
        return ChimeraError(said)
    return Retry(said)


def pause_asked_for(status: int, retry_after: str | None) -> float | None:
    """
    Return for how many seconds an endpoint that has too much to do wants to be left alone.

    Args:
        status: Of its HTTP answer.
        retry_after: The header of that name: seconds, or a date.

    Returns:
        At most `LONGEST_ASKED_PAUSE`; None where the answer asks for no pause.
    """
    if status not in _BUSY or retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return float(min(int(text.lstrip("0")[:9] or "0"), LONGEST_ASKED_PAUSE))
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(moment - time.time(), 0.0), LONGEST_ASKED_PAUSE)


def too_large(said: str, method: str) -> Retry:
    """Say that less has to be asked for; `method` as in `fault_of`."""
    if not method:
        return BatchTooLarge(said)
    return RangeTooWide(said) if method == "eth_getLogs" else TooHeavy(said)


def fault_of_status(status: int, method: str) -> ChimeraError:
    """Name the reaction to an HTTP status without a JSON-RPC answer; `method` as in `fault_of`."""
    said = f"{method or 'batch'}: HTTP {status}"
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return too_large(said, method)
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT}:
        return Retry(said)
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Denied(said)
    return Retry(said)
