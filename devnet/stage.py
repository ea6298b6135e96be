"""The whole stage set in one hand: a node, a market on it, people in it, and their life."""

from __future__ import annotations

import argparse
import copy
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from devnet.aave import VERSIONS, deploy
from devnet.anvil import GENESIS_TIME, HISTORY, Anvil
from devnet.configuration import BLOCK_SECONDS, write_config
from devnet.life import Life
from devnet.market import DEPLOYER, Market
from devnet.node import Node
from devnet.people import Population
from devnet.population import populate
from devnet.prices import Prices
from devnet.truth import Truth

PROTOCOL = "aave"  # the protocol's name in the configuration
FROM_BLOCK = 1
HEAD_START = 600  # seconds of chain time that building a stage may take


@dataclass
class Stage:
    """
    A built stage. Time passes on it only when somebody mines.

    `with Stage.build(...) as stage:` starts it and leaves nothing behind.
    """

    anvil: Anvil
    node: Node
    market: Market
    population: Population
    prices: Prices
    truth: Truth
    life: Life
    seed: int

    @classmethod
    @contextmanager
    def build(
        cls,
        *,
        version: str = VERSIONS[0],
        seed: int = 7,
        borrowers: int = 60,
        port: int = 0,
        base_fee: int = 0,
        history: int = HISTORY,
        genesis_time: int = GENESIS_TIME,
    ) -> Iterator[Stage]:
        """
        Start a node, deploy the market and bring in the people.

        Args:
            version: Of Aave, one of `devnet.aave.VERSIONS`.
            seed: Decides who comes and how life goes on.
            borrowers: People with debt; some suppliers come on top.
            port: Where the node listens, 0 for any free port.
            base_fee: What a unit of gas costs, wei.
            history: Block states the node keeps callable.
            genesis_time: Timestamp of block 0, seconds.
        """
        with ExitStack() as stack:
            anvil = stack.enter_context(
                Anvil(port=port, base_fee=base_fee, history=history, genesis_time=genesis_time)
            )
            node = stack.enter_context(Node(anvil.http, fund=base_fee > 0))
            node.install_multicall3(DEPLOYER)
            yield cls.on(anvil, node, version=version, seed=seed, borrowers=borrowers)

    @classmethod
    def on(cls, anvil: Anvil, node: Node, *, version: str, seed: int, borrowers: int) -> Stage:
        """Deploy a market on a chain that has Multicall3, and bring in the people."""
        market = deploy(node, version)
        population = populate(node, market, seed=seed, borrowers=borrowers)
        prices = Prices(node, market)
        life = Life(node, market, population, prices, seed)
        return cls(anvil, node, market, population, prices, Truth(node, market), life, seed)

    @property
    def provider(self) -> str:
        """The PoolAddressesProvider: what the configuration names."""
        return self.market.provider.address

    def entry(self, name: str) -> dict[str, object]:
        """Return the `[[protocols]]` entry of this market."""
        address = {"address": self.provider, "from_block": FROM_BLOCK}
        return {"name": name, "kind": "aave_v3", **address}

    def mine(self, seconds: int = BLOCK_SECONDS) -> int:
        """Mine a block; its number."""
        return self.node.mine(seconds)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Take back everything that happens inside the block, what life remembers included."""
        with self.forgotten():
            identity = self.node.snapshot()
            try:
                yield
            finally:
                self.node.revert(identity)

    @contextmanager
    def forgotten(self) -> Iterator[None]:
        """
        Forget whatever the stage learns about its chain inside the block; whoever asks reverts it.

        Chance is not taken back: what comes afterwards is another story, not the same one again.
        """
        answers, listings = self.prices.remember(), dict(self.market.listings)
        population, memory = copy.deepcopy(vars(self.population)), self.life.remember()
        try:
            yield
        finally:
            self.prices.restore(answers)
            self.market.listings = listings
            vars(self.population).update(population)
            self.life.restore(memory)

    def write_config(
        self,
        path: Path,
        *,
        ws: str = "",
        http: str = "",
        redis_url: str = "",
        history: str = "",
        listen: str = "127.0.0.1:0",
        extra: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Path:
        """
        Write a configuration with which the daemon follows this stage.

        Args:
            path: The TOML file to write.
            ws: Subscriptions' URL, by default the node's own.
            http: Requests' URL, by default the node's own.
            redis_url: Empty for in-memory only.
            history: SQLAlchemy URL, by default a SQLite file beside `path`.
            listen: Where the daemon's HTTP listens, empty for nowhere.
            extra: Further sections, or keys that replace those of a section.
        """
        return write_config(
            path,
            ws=ws or self.anvil.ws,
            http=http or self.anvil.http,
            protocols=[self.entry(PROTOCOL)],
            redis_url=redis_url,
            history=history,
            listen=listen,
            extra=extra,
        )


def serve(*, version: str, borrowers: int, seed: int, port: int) -> None:
    """Build a stage, tell where it is, and let it live in real time until interrupted."""
    began = int(time.time()) - HEAD_START
    people = {"seed": seed, "borrowers": borrowers}
    with Stage.build(version=version, port=port, genesis_time=began, **people) as stage:
        print(f"node       {stage.anvil.http}  {stage.anvil.ws}")
        print(f"provider   {stage.provider}  (kind aave_v3, from_block {FROM_BLOCK})")
        print(f"borrowers  {len(stage.truth.borrowers_now())} at block {stage.node.number}")
        print("a block every 2 s, Ctrl-C ends it", flush=True)
        while True:
            elapsed = max(1, int(time.time()) - stage.node.time)
            moment = stage.life.step(seconds=elapsed, actions=3)
            print(f"block {moment.number}: {dict(moment.succeeded)}", flush=True)
            time.sleep(BLOCK_SECONDS)


def main() -> None:
    """Run a stage from the command line."""
    parser = argparse.ArgumentParser(prog="devnet.stage", description=__doc__)
    parser.add_argument("--version", choices=VERSIONS, default=VERSIONS[0])
    parser.add_argument("--borrowers", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--port", type=int, default=8545)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve(**vars(options))
    except KeyboardInterrupt:
        print("ended")


if __name__ == "__main__":
    main()
