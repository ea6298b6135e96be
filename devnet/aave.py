"""The real Aave v3, deployed whole: libraries, pool, oracle, reserves, eMode, isolation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from devnet.artifacts import aave, ours
from devnet.editions import EDITIONS, create
from devnet.market import DEPLOYER, Listing, Market, Setting, admin, configure
from devnet.node import Contract, Node
from devnet.reserves import (
    EMODE_LTV,
    EMODE_THRESHOLD,
    RATIO_GROWTH,
    START_RATIO,
    Reserve,
)

__all__ = ("DEPLOYER", "FEED_DECIMALS", "VERSIONS", "Market", "admin", "deploy", "list_reserve")

VERSIONS = tuple(EDITIONS)
FEED_DECIMALS = 8
RESERVE_FACTOR = 1000
PROTOCOL_FEE = 1000
LISTING_GAS = 100_000_000


def deploy(node: Node, version: str = VERSIONS[0]) -> Market:
    """
    Deploy the market. The deployer's nonces start at 0, so every address is the same each time.

    Raises:
        Reverted: The node is not fresh.
    """
    edition = EDITIONS[version]
    market = edition.deploy_core(node)
    made: dict[str, tuple[Contract, Contract]] = {}
    for reserve in edition.reserves:
        made[reserve.symbol] = _deploy_parts(node, reserve, made)
    node.settle()
    _initialise(node, market, edition.reserves, made)
    node.settle()
    for reserve in edition.reserves:
        record(node, market, reserve, *made[reserve.symbol])
    configure(node, market, edition.category(EMODE_LTV, EMODE_THRESHOLD))
    for listing in market.listings.values():
        for setting in _settings(listing.reserve, listing.token.address):
            configure(node, market, setting)
    for setting in edition.around(market):
        configure(node, market, setting)
    node.settle()
    return market


def list_reserve(node: Node, market: Market, reserve: Reserve) -> tuple[Contract, Contract]:
    """Send what lists one more reserve; its token and feed, for `record` once it is mined."""
    made = {reserve.symbol: _deploy_parts(node, reserve, {})}
    token, feed = made[reserve.symbol]
    _initialise(node, market, (reserve,), made)
    for setting in _settings(reserve, token.address):
        configure(node, market, setting)
    return token, feed


def record(node: Node, market: Market, reserve: Reserve, token: Contract, feed: Contract) -> None:
    """Note a mined listing in the market."""
    tokens = node.read(market.data_provider, "getReserveTokensAddresses", token.address)
    a_token = Contract(tokens[0], market.edition.a_token())
    debt_token = Contract(tokens[2], market.edition.debt_token())
    market.listings[reserve.symbol] = Listing(reserve, token, a_token, debt_token, feed)


def _initialise(
    node: Node,
    market: Market,
    reserves: tuple[Reserve, ...],
    made: Mapping[str, tuple[Contract, Contract]],
) -> None:
    parts = [made[reserve.symbol] for reserve in reserves]
    tokens = [token.address for token, _ in parts]
    admin(node, market.oracle, "setAssetSources", tokens, [feed.address for _, feed in parts])
    inputs = [
        market.edition.listing_input(market, reserve, token)
        for reserve, token in zip(reserves, tokens, strict=True)
    ]
    admin(node, market.configurator, "initReserves", inputs, gas=LISTING_GAS)


def _deploy_parts(
    node: Node, reserve: Reserve, made: Mapping[str, tuple[Contract, Contract]]
) -> tuple[Contract, Contract]:
    name = f"{reserve.symbol} of the devnet"
    token = create(node, aave("MintableERC20"), name, reserve.symbol, reserve.decimals)
    if reserve.wraps:
        base = made[reserve.wraps][1].address
        return token, create(node, ours("RatioFeed"), base, START_RATIO, RATIO_GROWTH)
    aggregator = create(node, ours("Aggregator"), FEED_DECIMALS, reserve.price)
    description = f"{reserve.symbol} / USD"
    return token, create(node, ours("AggregatorProxy"), aggregator.address, description)


def _settings(reserve: Reserve, token: str) -> Iterator[Setting]:
    yield "setReserveFactor", token, RESERVE_FACTOR
    yield "setLiquidationProtocolFee", token, PROTOCOL_FEE
    yield "setReserveFlashLoaning", token, True
    if reserve.debt_ceiling:  # before any supplier
        yield "setDebtCeiling", token, reserve.debt_ceiling
    if not reserve.dormant:
        limits = (reserve.ltv, reserve.threshold, reserve.bonus)
        yield "configureReserveAsCollateral", token, *limits
    if reserve.borrowable:
        yield "setReserveBorrowing", token, True
    if reserve.borrowable_in_isolation:
        yield "setBorrowableInIsolation", token, True
