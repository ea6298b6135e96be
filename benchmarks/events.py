"""
Events into state: from the bytes of an `eth_getLogs` answer to accounts in the book.

Ours is all of it: JSON, decoding, the family's rules and the book with its undo log, but not the
screen. The peers only decode the same logs and keep nothing: web3.py as its provider does it
(`json`, the formatter of log entries, `process_log`), and `eth_abi` on the words of the data.
The same again from the bytes of a WebSocket: `benchmarks/subscribing.py`.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

import msgspec
from eth_abi.abi import decode
from web3 import Web3
from web3._utils.method_formatters import log_entry_formatter
from web3.datastructures import AttributeDict
from web3.types import EventData

from benchmarks.measuring import Goal, Row, Samples, Turn, in_turns, row_of
from benchmarks.subscribing import announcing, ours, theirs
from benchmarks.synthetic import PROTOCOL, Mirror, make_mirror
from benchmarks.traffic import Traffic
from chimera.domain.block import Block, BlockBatch, Log
from chimera.protocols.aave_v3 import events
from chimera.rpc.wire import LOGS, Filter

ACCOUNTS = 10_000
LOGS_PER_BLOCK = 1_000
ROUNDS, OFTEN = 10, 6
SUBSCRIBED = 8  # rounds of `OFTEN` blocks, the first of them to warm up
MANY = (Goal(120_000, at_least=True),)

MINT = (("caller", "address", True), ("onBehalfOf", "address", True), ("value", "uint256", False))
REST = (("balanceIncrease", "uint256", False), ("index", "uint256", False))
RATES = ("liquidityRate", "stableBorrowRate", "variableBorrowRate", "liquidityIndex")
# name, inputs (name, type, indexed) of the events that the made-up traffic has
EVENTS: dict[bytes, tuple[str, tuple[tuple[str, str, bool], ...]]] = {
    events.MINT: ("Mint", (*MINT, *REST)),
    events.BURN: (
        "Burn",
        (
            ("from", "address", True),
            ("target", "address", True),
            ("value", "uint256", False),
            *REST,
        ),
    ),
    events.BALANCE_TRANSFER: (
        "BalanceTransfer",
        (
            ("from", "address", True),
            ("to", "address", True),
            ("value", "uint256", False),
            ("index", "uint256", False),
        ),
    ),
    events.RESERVE_DATA_UPDATED: (
        "ReserveDataUpdated",
        (
            ("reserve", "address", True),
            *((name, "uint256", False) for name in (*RATES, "variableBorrowIndex")),
        ),
    ),
    events.COLLATERAL_ENABLED: (
        "ReserveUsedAsCollateralEnabled",
        (("reserve", "address", True), ("user", "address", True)),
    ),
}


def measure() -> list[Row]:
    """Measure all sides over the same block of logs."""
    mirror = make_mirror(ACCOUNTS)
    traffic = Traffic(mirror.adapter, mirror.market, mirror.accounts, logs=LOGS_PER_BLOCK)
    blocks = traffic.blocks(2 * (ROUNDS * OFTEN + 1) + SUBSCRIBED * OFTEN)
    logs = blocks[0].logs
    gc.collect()
    gc.freeze()  # as the daemon does after a loading
    sides = [
        Turn(_web3(blocks[0])),
        Turn(_eth_abi(logs)),
        Turn(_applied(mirror, blocks), OFTEN),
        Turn(_applied_from_json(mirror, blocks), OFTEN),
    ]
    return _rows(in_turns(sides, ROUNDS)) + _subscribed(mirror, blocks)


def _rows(found: list[Samples]) -> list[Row]:
    process_log, eth_abi, applied, from_json = found
    web3 = row_of("web3.py, JSON to decoded, per log", process_log, per=LOGS_PER_BLOCK)
    words = row_of("eth_abi, words to decoded, per log", eth_abi, per=LOGS_PER_BLOCK)
    whole = row_of(
        "JSON to the book, per log",
        from_json,
        per=LOGS_PER_BLOCK,
        against=web3,
        goals=[Goal(30, "ratio", at_least=True)],
    )
    return [
        web3,
        words,
        row_of("words to the book, per log", applied, per=LOGS_PER_BLOCK, against=words),
        whole,
        Row("JSON to the book: logs in a second", 1 / whole.median, unit="/s", goals=MANY),
    ]


def _subscribed(mirror: Mirror, blocks: list[BlockBatch]) -> list[Row]:
    """Measure both subscriptions in turns, ours `OFTEN` blocks at a time."""
    decoders = _decoders()
    slow, fast = Samples(), Samples()
    with announcing([_json(batch.block, batch.logs) for batch in blocks]) as url:
        for place, batch in enumerate(blocks):
            whole = ours(f"{url}/{place}", batch, partial(_into_book, mirror))
            if place >= OFTEN:
                fast += whole
            if place % OFTEN == OFTEN - 1:
                slow += theirs(f"{url}/{place}", len(batch.logs), decoders)
    their_name = "web3.py, subscription to decoded, per log (CPU)"
    peers = row_of(their_name, slow[1:], per=LOGS_PER_BLOCK)
    goals = [Goal(30, "ratio", at_least=True)]
    what = "WebSocket bytes to the book, per log (CPU)"
    mine = row_of(what, fast, per=LOGS_PER_BLOCK, against=peers, goals=goals)
    second = "WebSocket bytes to the book: logs in a second"
    return [peers, mine, Row(second, 1 / mine.median, unit="/s", goals=MANY)]


def _applied(mirror: Mirror, blocks: list[BlockBatch]) -> Callable[[], object]:
    def apply() -> None:
        _into_book(mirror, blocks.pop(0))

    return apply


def _applied_from_json(mirror: Mirror, blocks: list[BlockBatch]) -> Callable[[], object]:
    """Encode the blocks before the clock runs: a node does that on its own time."""
    raw = {batch.block.number: _json(batch.block, batch.logs) for batch in blocks}
    wanted = Filter(mirror.adapter.interest(mirror.market))

    def apply() -> None:
        batch = blocks.pop(0)
        logs = wanted.logs(LOGS.decode(raw[batch.block.number]))
        _into_book(mirror, BlockBatch(batch.block, logs, batch.readings))

    return apply


def _into_book(mirror: Mirror, batch: BlockBatch) -> None:
    book, adapter = mirror.book, mirror.adapter
    book.begin(batch.block)
    accounts = book.accounts(PROTOCOL)
    market: Any = book.market(PROTOCOL)
    for change in adapter.fold(market, accounts, batch):
        book.apply(PROTOCOL, change)
    book.commit()


def _json(block: Block, logs: Sequence[Log]) -> bytes:
    transactions = count(1)
    return msgspec.json.encode(
        [
            {
                "address": f"0x{log.address.hex()}",
                "topics": [f"0x{topic.hex()}" for topic in log.topics],
                "data": f"0x{log.data.hex()}",
                "blockHash": f"0x{block.hash.hex()}",
                "blockNumber": hex(block.number),
                "blockTimestamp": hex(block.timestamp),
                "transactionHash": f"0x{next(transactions):064x}",
                "transactionIndex": hex(log.log_index // 2),
                "logIndex": hex(log.log_index),
                "removed": False,
            }
            for log in logs
        ]
    )


def _web3(batch: BlockBatch) -> Callable[[], object]:
    decoders = _decoders()
    raw = _json(batch.block, batch.logs)

    def decoded() -> list[EventData]:
        entries = [log_entry_formatter(entry) for entry in json.loads(raw)]
        return [decoders[entry["topics"][0]].process_log(AttributeDict(entry)) for entry in entries]

    return decoded


def _decoders() -> dict[bytes, Any]:
    """Return what web3.py decodes each event by, by its first topic."""
    contract = Web3().eth.contract(abi=[_abi(name, inputs) for name, inputs in EVENTS.values()])
    return {topic: contract.events[name]() for topic, (name, _) in EVENTS.items()}


def _abi(name: str, inputs: Sequence[tuple[str, str, bool]]) -> dict[str, Any]:
    fields = [{"name": name, "type": kind, "indexed": indexed} for name, kind, indexed in inputs]
    return {"type": "event", "name": name, "anonymous": False, "inputs": fields}


def _eth_abi(logs: Sequence[Log]) -> Callable[[], object]:
    kinds = {
        topic: [kind for _, kind, indexed in inputs if not indexed]
        for topic, (_, inputs) in EVENTS.items()
    }
    pairs = [(kinds[log.topics[0]], log.data) for log in logs]
    return lambda: [decode(types, data) for types, data in pairs]
