"""
What a start costs the processor: 100,000 accounts from the file, or from a node's answers.

No node and no disk are timed, only our own work. The file is written as the daemon does it, page by
page between blocks, so the longest step is what a block may have to wait for. An account read from
a node is timed from decoded answers (`eth_call` by `eth_call`, as the adapter gets them) to the
account; 12 reserves make 26 answers each.
"""

from __future__ import annotations

import functools
import gc
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measuring import Goal, Row, row_of, timed
from benchmarks.synthetic import GENESIS, PROTOCOL, Borrowers, make_market
from chimera.domain.block import Address
from chimera.domain.call import Answer, Call, Inquiry
from chimera.domain.market import Account
from chimera.protocols.aave_v3 import reading
from chimera.protocols.aave_v3.market import AaveMarket
from chimera.state.book import Book
from chimera.state.past import Past
from chimera.state.rebuild import CHUNK
from chimera.store.snapshot_file import (
    Draft,
    Identity,
    Instance,
    read_content,
    read_header,
    read_snapshot,
)

COUNT, ROUNDS = 100_000, 9
READ = 10_000  # accounts: the answers of more fill the memory
LOADED, STEP, REBUILT = Goal(0.1), Goal(0.005, "worst"), Goal(1.0)
IDENTITY = Identity("", 1, (Instance(PROTOCOL, "aave_v3", b"", None, complete=True),))


def measure() -> list[Row]:
    """Write and read the file, then read accounts from answers."""
    market = make_market()
    accounts = Borrowers(market).make(COUNT)
    with tempfile.TemporaryDirectory(prefix="chimera-bench-coldstart-") as folder:
        path = Path(folder) / "book.snapshot"
        gc.collect()
        gc.freeze()  # as the daemon does once it has loaded
        written, steps = _write(path, market, accounts)
        some = dict(list(accounts.items())[:READ])
        del accounts
        loads = [_load(path) for _ in range(ROUNDS)]
    from_answers = [_from_answers(market, some) * COUNT / READ for _ in range(ROUNDS)]
    rebuilt = row_of(f"{COUNT:,} accounts from decoded answers", from_answers, goals=[REBUILT])
    name = f"{COUNT:,} accounts from the file"
    return [
        row_of(name, loads, against=rebuilt, goals=[LOADED]),
        rebuilt,
        row_of(f"{COUNT:,} accounts into the file", written),
        row_of("the longest step of it between two blocks", steps, goals=[STEP]),
    ]


def _write(
    path: Path, market: AaveMarket, accounts: Mapping[Address, Account]
) -> tuple[list[float], list[float]]:
    """Return what each round took, and its longest step."""
    whole, longest, book = [], [], Book()
    book.load(PROTOCOL, market, accounts, complete=True, block=GENESIS)
    for _ in range(ROUNDS):
        draft, steps = Draft(IDENTITY, GENESIS), []
        began = time.process_time()
        for _ in draft.add(Past(book).items(PROTOCOL), b""):
            steps.append(time.process_time() - began)
            began = time.process_time()
        steps.append(time.process_time() - began)
        whole.append(sum(steps) + timed(functools.partial(draft.save, path)))
        longest.append(max(steps))
    return whole, longest


def _load(path: Path) -> float:
    gc.unfreeze()
    gc.collect()
    kept = []

    def load() -> None:
        content = read_content(path)
        kept.append(read_snapshot(content, read_header(content, IDENTITY)))

    seconds = timed(load)
    if len(kept[0].protocols[PROTOCOL].accounts) != COUNT:
        raise RuntimeError("some accounts were lost")
    return seconds


def _from_answers(market: AaveMarket, accounts: Mapping[Address, Account]) -> float:
    """Return the seconds of making these accounts; the answers stand ready."""
    seconds, users = 0.0, list(accounts)
    for start in range(0, len(users), CHUNK):
        chunk = users[start : start + CHUNK]
        calls = next(_inquiry(market, chunk))
        told = (number for user in chunk for number in _numbers(market, accounts[user]))
        answers: dict[Call, Answer] = {
            call: number.to_bytes(32, "big") for call, number in zip(calls, told, strict=True)
        }

        def read(chunk: list[Address] = chunk, answers: dict[Call, Answer] = answers) -> None:
            inquiry = _inquiry(market, chunk)
            next(inquiry)
            try:
                inquiry.send(answers)
            except StopIteration as done:
                if len(done.value) != len(chunk):
                    raise RuntimeError("some accounts were lost") from None

        seconds += timed(read)
    return seconds


def _inquiry(market: AaveMarket, users: list[Address]) -> Inquiry[dict[Address, Account]]:
    return reading.read_accounts(market.pool, market.reserves, users, GENESIS)


def _numbers(market: AaveMarket, account: Account) -> list[int]:
    """Return what the contracts say of an account: bitmap, mode, supplies, debts."""
    supplied, owed, bitmap = account.supplied, account.owed, 0
    for asset, reserve in market.reserves.items():
        bitmap |= (2 * (asset in account.enabled) + (asset in owed)) << 2 * reserve.bit
    balances = [side.get(asset, 0) for side in (supplied, owed) for asset in market.reserves]
    return [bitmap, account.mode, *balances]
