"""A deployed market: where its contracts are, what is listed, and its owner's hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from devnet.artifacts import Artifact
from devnet.node import Contract, Node, Transaction
from devnet.reserves import Reserve

DEPLOYER = "0x1000000000000000000000000000000000000001"
TREASURY = "0x2000000000000000000000000000000000000002"
ZERO = "0x0000000000000000000000000000000000000000"
USD_UNIT = 10**8

Setting = tuple[Any, ...]  # a function of the configurator, and its arguments


class Edition(Protocol):
    """What differs between the versions of Aave that are deployed here."""

    @property
    def version(self) -> str:
        """The name of the version, such as 3.0.2."""

    @property
    def reserves(self) -> tuple[Reserve, ...]:
        """What is listed from the beginning."""

    @property
    def enables_received(self) -> bool:
        """Whether received aTokens become collateral by themselves."""

    def deploy_core(self, node: Node) -> Market:
        """Deploy everything but the reserves."""

    def a_token(self) -> Artifact:
        """How to speak to an aToken."""

    def debt_token(self) -> Artifact:
        """How to speak to a variable debt token."""

    def listing_input(self, market: Market, reserve: Reserve, token: str) -> tuple[object, ...]:
        """Return the InitReserveInput of a reserve."""

    def category(self, ltv: int, threshold: int) -> Setting:
        """Return what sets the limits of the ETH category (basis points)."""

    def membership(self, token: str, category: int, *, member: bool) -> Iterator[Setting]:
        """Return what takes a token into a category, or out of it, as collateral."""

    def around(self, market: Market) -> Iterator[Setting]:
        """Return what the market still needs once its reserves are configured."""

    def unpause(self, token: str, grace: int) -> Setting:
        """Return what ends a pause, with seconds of grace where the version knows them."""


@dataclass(frozen=True)
class Listing:
    """A listed reserve with the contracts that belong to it."""

    reserve: Reserve
    token: Contract
    a_token: Contract
    debt_token: Contract
    feed: Contract  # AggregatorProxy, or RatioFeed where the reserve wraps another


@dataclass
class Market:
    """A deployed Aave v3 market. Addresses are EIP-55 strings."""

    edition: Edition
    provider: Contract
    pool: Contract
    configurator: Contract
    oracle: Contract
    acl: Contract
    data_provider: Contract
    parts: dict[str, str] = field(default_factory=dict)  # implementations and curves by name
    listings: dict[str, Listing] = field(default_factory=dict)

    def listing_of(self, asset: str) -> Listing:
        """Return the listing of a token address."""
        return next(one for one in self.listings.values() if one.token.address == asset)


def admin(
    node: Node, target: Contract, function: str, *arguments: object, gas: int = 10_000_000
) -> None:
    """Send a call of the market's owner, who holds every role."""
    data = target.artifact.encode(function, *arguments)
    node.send(Transaction(DEPLOYER, target.address, data, gas=gas))


def configure(node: Node, market: Market, setting: Setting) -> None:
    """Send a call of the owner to the configurator."""
    admin(node, market.configurator, *setting)


def configure_collateral(node: Node, market: Market, reserve: Reserve, threshold: int) -> None:
    """Send a change of a reserve's liquidation threshold (basis points); its LTV follows."""
    token = market.listings[reserve.symbol].token.address
    ltv = min(reserve.ltv, threshold)
    function = "configureReserveAsCollateral"
    configure(node, market, (function, token, ltv, threshold, reserve.bonus))


def wake(node: Node, market: Market, symbol: str) -> None:
    """Send what makes a dormant reserve usable: as collateral, and to borrow."""
    listing = market.listings[symbol]
    configure_collateral(node, market, listing.reserve, listing.reserve.threshold)
    configure(node, market, ("setReserveBorrowing", listing.token.address, True))
