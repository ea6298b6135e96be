"""Recordings of real lending contracts, read back as blocks, logs and answers."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from chimera.domain.block import Address, Block, BlockHash, Log, LogQuery
from chimera.domain.call import Answer, Call, Slot

FORMAT = 1
SYMBOL, DECIMALS = "0x95d89b41", "0x313ce567"  # answered from the header's `tokens`
AAVE_USER_WORDS = frozenset({"0x4417a583", "0xeddf1b79"})  # getUserConfiguration, getUserEMode


class BadRecording(ValueError):
    """The file is no recording that can be read."""


class Unrecorded(LookupError):
    """A call that the recording has no answer to: asked by mistake, or not meant to be asked."""


def address(text: str) -> Address:
    """Return the address of a hex string."""
    return Address(bytes.fromhex(text.removeprefix("0x")))


@dataclass(frozen=True)
class Line:
    """One recorded block. `truth` is what the contracts said of every account, by address."""

    block: Block
    is_full: bool
    truth: dict[Address, dict[str, Any] | None]
    _logs: Sequence[dict[str, Any]] = field(repr=False)
    _calls: Sequence[dict[str, Any]] = field(repr=False)
    _storage: Sequence[dict[str, Any]] = field(repr=False, default=())

    @cached_property
    def logs(self) -> tuple[Log, ...]:
        """Every log of the block, of every contract."""
        return tuple(_log(entry, self.block.number) for entry in self._logs)

    def logs_of(self, query: LogQuery) -> tuple[Log, ...]:
        """Return the logs that a node would answer to this query."""
        return tuple(log for log in self.logs if query.wants(log))

    @cached_property
    def answers(self) -> dict[tuple[str, str], str | None]:
        """Results by target and data, as recorded."""
        return {(call["to"].lower(), call["data"]): call["result"] for call in self._calls}

    @cached_property
    def words(self) -> dict[tuple[str, str], str]:
        """Storage words by contract and slot, as recorded."""
        return {(w["address"].lower(), _slot(w["slot"])): w["value"] for w in self._storage}


class Recording:
    """
    One file.

    Args:
        path: Of a `.jsonl.gz`.

    Raises:
        BadRecording: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                self.header: dict[str, Any] = json.loads(next(lines))
                self._check()
                self.lines = [_line(json.loads(text)) for text in lines]
        except (OSError, EOFError, zlib.error, StopIteration, ValueError, LookupError) as error:
            raise BadRecording(f"{path}: not a recording{_reason(error)}") from error

    def _check(self) -> None:
        if not isinstance(self.header, dict) or self.header.get("format") != FORMAT:
            raise BadRecording(f"not of format {FORMAT}")
        self.family = str(self.header["family"])
        self.version = str(self.header["version"])
        self.chain_id = int(self.header["chain_id"])
        self.config: dict[str, Any] = self.header["config"]
        self.from_block = int(self.header["from_block"])
        self.bootstrap_block = int(self.header["bootstrap_block"])
        self._accounts = {address(user) for user in self.header["accounts"]}
        self._others = {address(user) for user in self.header.get("other_accounts", ())}
        self._tokens = {name.lower(): token for name, token in self.header["tokens"].items()}

    @property
    def people(self) -> set[Address]:
        """Everybody who has a truth, and others of whom the header says that they are recorded."""
        return self._accounts | self._others

    @property
    def history(self) -> list[Line]:
        """The blocks before the bootstrap: logs only."""
        return [line for line in self.lines if line.block.number < self.bootstrap_block]

    @property
    def followed(self) -> list[Line]:
        """The bootstrap block and all that a follower sees after it, replaced blocks included."""
        return self.lines[len(self.history) :]

    def answer(self, line: Line, call: Call) -> Answer:
        """
        Return what the call answered at the end of that block.

        Raises:
            Unrecorded: Nobody asked this while recording.
        """
        to, data = f"0x{call.to.hex()}", f"0x{call.data.hex()}"
        if isinstance(call, Slot):
            if not line.words:
                raise Unrecorded(f"block {line.block.number}: no word of {to} at {data}")
            word = line.words.get((to, data), "0x")  # where accounts have nothing, there is none
            return bytes.fromhex(word[2:].rjust(64, "0"))
        if (to, data) in line.answers:
            result = line.answers[to, data]
            return None if result is None else bytes.fromhex(result[2:])
        if call.to in self._accounts:
            return b""  # people have no code
        token = self._tokens.get(to)
        if token is not None and data in (SYMBOL, DECIMALS):
            return _string(token["symbol"]) if data == SYMBOL else _word(token["decimals"])
        if line.is_full and data[:10] in AAVE_USER_WORDS and call.data[-20:] in self._others:
            return _word(0)  # of lenders and liquidators only balances are recorded, and no truth
        raise Unrecorded(f"block {line.block.number}: no answer of {to} to {data}")


def _reason(error: Exception) -> str:
    match error:
        case BadRecording():
            return f", {error}"
        case OSError(strerror=str(told)):
            return f", {told.lower()}"
        case gzip.BadGzipFile() | zlib.error():
            return ", not packed by gzip"
        case EOFError() | StopIteration():
            return ", it ends too early"
        case KeyError():
            return f", it lacks {error}"
        case _:
            return ", its lines are not as they should be"


def _line(entry: dict[str, Any]) -> Line:
    block = Block(
        number=entry["number"],
        hash=BlockHash(bytes.fromhex(entry["hash"][2:])),
        parent_hash=BlockHash(bytes.fromhex(entry["parent_hash"][2:])),
        timestamp=entry["timestamp"],
    )
    truth = {address(user): told for user, told in (entry.get("truth") or {}).items()}
    return Line(
        block,
        bool(entry.get("full")),
        truth,
        entry.get("logs") or (),
        entry.get("calls") or (),
        entry.get("storage") or (),
    )


def _slot(key: str) -> str:
    """Write a slot's number or key as 32 bytes of lower-case hex."""
    return f"0x{int(key, 16):064x}"


def _log(entry: dict[str, Any], number: int) -> Log:
    return Log(
        address=address(entry["address"]),
        topics=tuple(bytes.fromhex(topic[2:]) for topic in entry["topics"]),
        data=bytes.fromhex(entry["data"][2:]),
        log_index=entry["log_index"],
        block_number=number,
    )


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _string(text: str) -> bytes:
    raw = text.encode()
    padded = raw + bytes(-len(raw) % 32)
    return _word(32) + _word(len(raw)) + padded
