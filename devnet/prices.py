"""The feeds in our hands: move a price, or change what stands behind it without a log."""

from __future__ import annotations

from devnet.aave import FEED_DECIMALS
from devnet.artifacts import ours
from devnet.market import DEPLOYER, Market, admin
from devnet.node import Contract, Node, Transaction

Kept = tuple[dict[str, int], dict[str, str], dict[str, Contract]]


class Prices:
    """
    Every plain feed of a market. Prices are USD with 8 decimals.

    What is sent here takes effect in the next mined block.
    """

    def __init__(self, node: Node, market: Market) -> None:
        self._node = node
        self._market = market
        self._feeds: dict[str, Contract] = {}
        self._answers: dict[str, int] = {}
        self._aggregators: dict[str, str] = {}
        for symbol in market.listings:
            self.follow(symbol)

    def follow(self, symbol: str) -> None:
        """Take a listed reserve's feed into the hand, if it has one of its own."""
        listing = self._market.listings[symbol]
        self._answers[symbol] = listing.reserve.price
        if not listing.reserve.wraps:
            self._feeds[symbol] = listing.feed
            self._aggregators[symbol] = self._node.read(listing.feed, "aggregator")

    @property
    def movable(self) -> list[str]:
        """The symbols that have a feed of their own; the others follow one of these."""
        return list(self._feeds)

    def answer(self, symbol: str) -> int:
        """Return what the feed answers once everything sent has been mined."""
        return self._answers[symbol]

    def aggregator(self, symbol: str) -> Contract:
        """Return what stands behind the feed's proxy once everything sent has been mined."""
        return Contract(self._aggregators[symbol], ours("Aggregator"))

    def set(self, symbol: str, answer: int) -> str:
        """Send a new round (0 is a dead feed). Its transaction hash."""
        self._answers[symbol] = answer
        target = self.aggregator(symbol)
        data = target.artifact.encode("set", answer)
        return self._node.send(Transaction(DEPLOYER, target.address, data, "price"))

    def swap_aggregator(self, symbol: str, answer: int) -> str:
        """Send a new phase with another answer: the proxy stays, and nothing is logged."""
        fresh = self._new_aggregator(symbol, answer)
        feed = self._feeds[symbol]
        data = feed.artifact.encode("swap", fresh)
        return self._node.send(Transaction(DEPLOYER, feed.address, data, "swap_aggregator"))

    def replace_source(self, symbol: str, answer: int) -> None:
        """Send a whole new feed to the oracle, which logs AssetSourceUpdated."""
        aggregator = self._new_aggregator(symbol, answer)
        proxy = ours("AggregatorProxy")
        description = f"{symbol} / USD, second edition"
        address = self._node.deploy(DEPLOYER, proxy.creation(aggregator, description))
        self._feeds[symbol] = Contract(address, proxy)
        token = self._market.listings[symbol].token.address
        admin(self._node, self._market.oracle, "setAssetSources", [token], [address])

    def remember(self) -> Kept:
        """Return what stands now, for `restore` after the chain has been taken back."""
        return dict(self._answers), dict(self._aggregators), dict(self._feeds)

    def restore(self, kept: Kept) -> None:
        """Set what `remember` returned; sends nothing."""
        self._answers, self._aggregators, self._feeds = kept

    def _new_aggregator(self, symbol: str, answer: int) -> str:
        creation = ours("Aggregator").creation(FEED_DECIMALS, answer)
        self._answers[symbol] = answer
        self._aggregators[symbol] = self._node.deploy(DEPLOYER, creation)
        return self._aggregators[symbol]
