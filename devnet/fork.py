"""An Anvil that goes on from a block of another chain, and what its market says there."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devnet.anvil import ROOT, Anvil
from devnet.artifacts import aave, ours
from devnet.node import Contract, Node, Transaction, address_in
from devnet.truth import AccountData

BEHIND = 5  # blocks that the fork of a living chain stays behind its head
SPAN = 2_000  # blocks before the fork point in which borrowers are looked for there
RANGE = 500  # blocks per eth_getLogs
SLOW = ("--timeout", "60000", "--retries", "10")  # milliseconds; somebody else's node


class NoConfiguration(Exception):
    """No file under `config/` is about the chain of an endpoint."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A chain with a market, and the block at which a fork leaves it."""

    url: str
    chain_id: int
    block: int
    time: int
    provider: str
    from_block: int


def origin_of(node: Node, provider: str, *, block: int, from_block: int) -> Origin:
    """Describe a chain that `node` knows, with a market behind `provider`."""
    time = int(node.block(block)["timestamp"], 16)
    chain_id = int(node.rpc("eth_chainId"), 16)
    return Origin(node.url, chain_id, block, time, provider, from_block)


def endpoint(url: str) -> Origin:
    """
    Describe the first market that `config/` has on the chain behind `url`.

    Only the last blocks are searched for borrowers: this is about their figures, not their number.

    Raises:
        NoConfiguration: There is none.
    """
    with Node(url) as node:
        chain_id = int(node.rpc("eth_chainId"), 16)
        for path in sorted((ROOT / "config").glob("*.toml")):
            config = tomllib.loads(path.read_text())
            if config["chain"]["id"] == chain_id:
                market = config["protocols"][0]
                block = max(1, node.number - BEHIND)
                first = max(market["from_block"], block - SPAN)
                return origin_of(node, market["address"], block=block, from_block=first)
    raise NoConfiguration(f"config/ has nothing about chain {chain_id}")


class Fork:
    """
    A market on a fork. Its figures are read without any of Chimera's code.

    Attributes:
        origin: Where it comes from.
        anvil: The forked node.
        node: A connection to it.
    """

    def __init__(self, origin: Origin, anvil: Anvil, node: Node) -> None:
        self.origin, self.anvil, self.node = origin, anvil, node
        self._provider = Contract(origin.provider, aave("PoolAddressesProvider"))
        self.pool = Contract(node.read(self._provider, "getPool"), aave("Pool"))
        self.oracle = Contract(node.read(self._provider, "getPriceOracle"), aave("AaveOracle"))

    @classmethod
    @contextmanager
    def of(cls, origin: Origin) -> Iterator[Fork]:
        """Start a node that forks `origin`; time passes on it only when somebody mines."""
        extra = ["--fork-url", origin.url, "--fork-block-number", str(origin.block), *SLOW]
        with (
            Anvil(chain_id=origin.chain_id, genesis_time=origin.time, extra=extra) as anvil,
            Node(anvil.http, fund=True) as node,
        ):
            yield cls(origin, anvil, node)

    def write_config(self, path: Path) -> Path:
        """Write a configuration with which the daemon follows the fork; its memory is beside it."""
        path.write_text(
            f"""
            [chain]
            id = {self.origin.chain_id}
            name = "fork"
            [rpc]
            ws = ["{self.anvil.ws}"]
            http = ["{self.anvil.http}"]
            max_log_range = {RANGE}
            [redis]
            url = ""
            [history]
            url = "sqlite+aiosqlite:///fork.db"
            [[protocols]]
            name = "aave"
            kind = "aave_v3"
            address = "{self.origin.provider}"
            from_block = {self.origin.from_block}
            """
        )
        return path

    def borrowers(self, last: int) -> set[str]:
        """Return, in lower case, who borrowed up to block `last` and still owes something."""
        topic = self.pool.artifact.topic("Borrow")
        users: set[str] = set()
        for first in range(self.origin.from_block, last + 1, RANGE):
            until = min(last, first + RANGE - 1)
            logs = self.node.logs(
                addresses=[self.pool.address], topics=[topic], first=first, last=until
            )
            users |= {address_in(log["topics"][2]) for log in logs}
        accounts = self.accounts(sorted(users), last)
        return {u.lower() for u, account in accounts.items() if account and account.total_debt}

    def accounts(self, users: Sequence[str], block: int) -> dict[str, AccountData | None]:
        """Return Pool.getUserAccountData of each user at a block; None where it reverts."""
        view = "getUserAccountData"
        calls = [(self.pool.address, self.pool.artifact.encode(view, user)) for user in users]
        answers = self.node.multicall(calls, block)
        return {
            user: None if answer is None else AccountData(*self.pool.artifact.decode(view, answer))
            for user, answer in zip(users, answers, strict=True)
        }

    def shock(self, asset: str, percent: int) -> int:
        """
        Set the price of `asset` to so many percent by giving it another source. The block's number.

        The market's own administrator does it, who knows nothing of that.
        """
        price = self.node.read(self.oracle, "getAssetPrice", asset)
        administrator = self.node.read(self._provider, "getACLAdmin")
        acl = Contract(self.node.read(self._provider, "getACLManager"), aave("ACLManager"))
        creation = ours("Aggregator").creation(8, price * percent // 100)
        source = self.node.deploy(administrator, creation)
        for target, function, *arguments in (
            (acl, "addPoolAdmin", administrator),
            (self.oracle, "setAssetSources", [asset], [source]),
        ):
            data = target.artifact.encode(function, *arguments)
            self.node.send(Transaction(administrator, target.address, data))
        return self.node.settle()


def heaviest_collateral(positions: Iterable[dict[str, Any]]) -> str:
    """Return the asset that carries the most borrowers."""
    carried: dict[str, int] = {}
    for position in positions:
        if asset := position["collateral_asset"]:
            carried[asset] = carried.get(asset, 0) + 1
    return max(carried, key=lambda asset: (carried[asset], asset))
