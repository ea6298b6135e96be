"""Venus' core pool on any chain of this stage set: its people, their life, and the truth."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from devnet.node import MULTICALL3, Contract, Node, Reverted, Transaction, tag
from devnet.people import Population
from devnet.venus_actions import VenusActions
from devnet.venus_happenings import VenusHappenings
from devnet.venus_market import OWNER, VenusMarket, deploy, venus
from devnet.venus_owners import Spares, VenusOwners
from devnet.venus_people import populate
from devnet.venus_truth import VenusTruth

FROM_BLOCK = 1
PORTER = "0x1000000000000000000000000000000000000029"  # brings Multicall3, if nobody has
# How often each thing happens, relative to the others.
CHURN = {
    "mint": 8,
    "mint_behalf": 4,
    "redeem": 6,
    "redeem_underlying": 5,
    "borrow": 10,
    "first_borrow": 3,
    "borrow_behalf": 3,
    "flash_loan": 2,
    "flash_debt": 2,
    "repay": 8,
    "repay_behalf": 5,
    "enter_market": 4,
    "exit_market": 3,
    "enter_pool": 3,
    "leave_pool": 3,
    "transfer": 5,
    "stray": 2,
    "newcomer": 5,
    "close": 3,
    "accrue": 5,
    "donate": 3,
    "add_reserves": 3,
    "soft_liquidate": 2,
    "soft_transfer": 2,
    "soft_exit": 2,
}
EVENTS = {
    "price": 50,
    "slide": 30,
    "dip": 3,
    "zero_price": 2,
    "dead_price": 2,
    "oracle": 2,
    "collateral_factor": 6,
    "pool_limits": 4,
    "incentive": 4,
    "close_factor": 4,
    "rate_model": 4,
    "reserve_factor": 4,
    "treasury": 2,
    "reduce_reserves": 4,
    "soft_reduce": 2,
    "sync_cash": 4,
    "reserve_delta": 3,
    "pause": 4,
    "protocol_pause": 1,
    "pool_off": 2,
    "fallback_off": 2,
    "forced": 2,
    "upgrade": 2,
}
# What happens in every life, by its step; the rest is chance.
SCRIPT = dict(
    enumerate(
        (
            *("rate_model", "listing", "slide", "collateral_factor", "oracle", "dip"),
            *("close_factor", "incentive", "zero_price", "pool_off", "dead_price", "slide"),
            *("fallback_off", "pool_limits", "pause", "sync_cash", "reduce_reserves"),
            *("treasury", "forced", "reserve_factor", "upgrade", "reserve_delta"),
            *("modernise", "soft_reduce", "protocol_pause", "rate_model", "price"),
        ),
        2,
    )
)
REFUSED = "soft"  # how the kinds begin that the contracts refuse without reverting


@dataclass(frozen=True, slots=True)
class VenusMoment:
    """One block of a life: what went well by kind, what was refused in silence, what reverted."""

    number: int
    succeeded: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)


class VenusStage:
    """
    A core pool with people, on a chain that may carry other protocols. Others mine.

    Send what `step_transactions` returns, mine one block for everybody, then call `mined`; or let
    `step` do all three. The same seed on the same chain lives the same life.

    Args:
        node: The chain; its blocks while this is built hold nothing else.
        seed: Decides who comes and how life goes on.
        borrowers: People with debt (8 or more); some suppliers come on top.

    Attributes:
        succeeded: Transactions that went well so far, by kind.
        refused: Those that were refused with status 1 (soft failures), by kind.
        failed: Those that reverted, by kind.
    """

    def __init__(self, node: Node, seed: int = 7, borrowers: int = 60) -> None:
        self.node = node
        self.seed = seed
        if node.rpc("eth_getCode", MULTICALL3, "latest") == "0x":
            node.install_multicall3(PORTER)
        self.market: VenusMarket = deploy(node)
        spares = Spares.make(node, self.market)
        self.population: Population = populate(node, self.market, seed=seed, borrowers=borrowers)
        self.truth = VenusTruth(node, self.market)
        self._rng = random.Random(seed)
        self._people = VenusHappenings(node, self.market, self.population, self._rng)
        self._owners = VenusOwners(self.market, spares, self._rng)
        self._steps = 0
        self._pending: list[Transaction] = []
        self.succeeded: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    @property
    def comptroller(self) -> str:
        """The comptroller's proxy: what the configuration names."""
        return self.market.comptroller.address

    def entry(self, name: str) -> dict[str, object]:
        """Return the `[[protocols]]` entry of this pool."""
        address = {"address": self.comptroller, "from_block": FROM_BLOCK}
        return {"name": name, "kind": "compound_v2", **address}

    def step_transactions(self, actions: int = 6) -> list[Transaction]:
        """Return what belongs into the next block, in order; about `actions` things happen."""
        self._steps += 1
        self._people.refresh(self._owners.answers)
        chosen = self._rng.choices(list(CHURN), list(CHURN.values()), k=actions)
        churn = [t for name in [*chosen, self._overdue()] for t in self._happening(name)]
        churn += self._people.liquidations(self._rng.choice((0, 1, 2, 3)))
        owners = self._owners.routine()
        for name in self._events():
            owners += self._owners.event(name)
        self._pending = owners + churn if self._rng.random() < 0.5 else churn + owners
        return list(self._pending)

    def mined(self, number: int) -> VenusMoment:
        """
        Take stock of block `number`, which has everything that was returned last.

        Raises:
            Reverted: An owner's transaction failed, or something never was in the block.
        """
        self._owners.mined()
        moment = VenusMoment(number)
        outcomes = self._outcomes(number)
        for transaction in self._pending:
            kind = transaction.kind
            if not outcomes.get(_key(transaction)):
                raise Reverted(f"{kind} of {transaction.sender} is not in block {number}")
            status, quiet = outcomes[_key(transaction)].pop(0)
            if transaction.sender == OWNER and (not status or quiet > kind.startswith(REFUSED)):
                raise Reverted(f"an owner's {kind} failed in block {number}")
            column = moment.refused if quiet else moment.succeeded
            (column if status else moment.failed)[kind] += 1
        self._pending = []
        self.succeeded.update(moment.succeeded)
        self.refused.update(moment.refused)
        self.failed.update(moment.failed)
        return moment

    def step(self, seconds: int = 2, actions: int = 6) -> VenusMoment:
        """Live one block on a chain that carries nothing else."""
        for transaction in self.step_transactions(actions):
            self.node.send(transaction)
        return self.mined(self.node.mine(seconds))

    def shock(self, symbol: str, bps: int, seconds: int = 2) -> int:
        """Move a price by `bps` basis points (down: negative) in a block of its own. Its number."""
        return self._alone(self._owners.move(symbol, bps), seconds)

    def cure(self, symbol: str, seconds: int = 2) -> int:
        """Bring a price back to where the stage began, in a block of its own. Its number."""
        first = self.market.listings[symbol].asset.price
        return self._alone(self._owners.quote(symbol, first), seconds)

    def fresh(self, seconds: int = 2) -> int:
        """Accrue every market in a block of its own, so that views and calls agree. Its number."""
        actions = VenusActions(self.market)
        return self._alone([actions.accrue(symbol) for symbol in self.market.listings], seconds)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Take back everything that happens inside the block, on the chain and in the books."""
        identity = self.node.snapshot()
        books = [self, self.market, self.population, self._people, self._owners]
        pages = [(book, _page(book)) for book in books]
        chance = self._rng.getstate()
        try:
            yield
        finally:
            self.node.revert(identity)
            self._rng.setstate(chance)
            for book, page in pages:
                vars(book).update(page)

    def _alone(self, transactions: list[Transaction], seconds: int) -> int:
        for transaction in transactions:
            self.node.send(transaction)
        return self.node.settle(seconds)

    def _happening(self, name: str) -> list[Transaction]:
        happens: Callable[[], list[Transaction]] = getattr(self._people, name)
        return happens()

    def _overdue(self) -> str:
        seen = self.succeeded + self.refused
        return min(CHURN, key=lambda name: seen[name])

    def _events(self) -> list[str]:
        names = self._rng.choices(list(EVENTS), list(EVENTS.values()), k=2)
        chance = names[: self._rng.choice((0, 1, 1, 2))]
        return [SCRIPT[self._steps]] if self._steps in SCRIPT else list(dict.fromkeys(chance))

    def _outcomes(self, number: int) -> dict[tuple[str, str, str], list[tuple[bool, bool]]]:
        whole_transactions = True
        block = self.node.rpc("eth_getBlockByNumber", tag(number), whole_transactions)
        receipts = self.node.rpc("eth_getBlockReceipts", tag(number))
        failure = "0x" + venus("VBep20Delegate").topic("Failure").hex()
        found: dict[tuple[str, str, str], list[tuple[bool, bool]]] = {}
        for sent, receipt in zip(block["transactions"], receipts, strict=True):
            quiet = any(log["topics"][:1] == [failure] for log in receipt["logs"])
            key = (sent["from"].lower(), (sent["to"] or "").lower(), sent["input"])
            found.setdefault(key, []).append((receipt["status"] == "0x1", quiet))
        return found


def _page(book: object) -> dict[str, object]:
    # What changes in place is copied; the books that they share stay the same objects.
    return {
        name: copy.deepcopy(value) if name == "people" else copy.copy(value)
        for name, value in vars(book).items()
        if isinstance(value, dict | list | int | tuple | Contract) or value is None
    }


def _key(transaction: Transaction) -> tuple[str, str, str]:
    data = "0x" + transaction.data.hex()
    return transaction.sender.lower(), transaction.to.lower(), data
