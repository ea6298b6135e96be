"""The real Aave v3.0.2, deployed whole: libraries, pool, oracle, reserves, eMode, isolation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from devnet.artifacts import Artifact, aave, ours
from devnet.node import Contract, Node, Transaction
from devnet.reserves import (
    EMODE_BONUS,
    EMODE_ETH,
    EMODE_LTV,
    EMODE_THRESHOLD,
    RATIO_GROWTH,
    RESERVES,
    START_RATIO,
    Reserve,
    rate_curve,
)

DEPLOYER = "0x1000000000000000000000000000000000000001"
TREASURY = "0x2000000000000000000000000000000000000002"
ZERO = "0x0000000000000000000000000000000000000000"
USD_UNIT = 10**8
FEED_DECIMALS = 8
FLASH_PREMIUM = 5  # basis points
RESERVE_FACTOR = 1000
PROTOCOL_FEE = 1000
LIBRARIES = (
    "SupplyLogic",
    "BorrowLogic",
    "LiquidationLogic",
    "EModeLogic",
    "BridgeLogic",
    "ConfiguratorLogic",
    "PoolLogic",
)


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
    """A deployed Aave v3.0.2 market. Addresses are EIP-55 strings."""

    provider: Contract
    pool: Contract
    configurator: Contract
    oracle: Contract
    acl: Contract
    data_provider: Contract
    listings: dict[str, Listing] = field(default_factory=dict)

    def listing_of(self, asset: str) -> Listing:
        """Return the listing of a token address."""
        return next(one for one in self.listings.values() if one.token.address == asset)


def deploy(node: Node, reserves: Sequence[Reserve] = RESERVES) -> Market:
    """
    Deploy the market. The deployer's nonces start at 0, so every address is the same each time.

    Raises:
        Reverted: The node is not fresh.
    """
    market = _deploy_core(node, _deploy_libraries(node))
    pool = market.pool.address
    implementations = tuple(
        node.deploy(DEPLOYER, aave(name).creation(pool))
        for name in ("AToken", "StableDebtToken", "VariableDebtToken")
    )
    feeds: dict[str, Contract] = {}
    tokens: dict[str, Contract] = {}
    curves = {
        volatile: _deploy_curve(node, market, volatile=volatile) for volatile in (True, False)
    }
    for reserve in reserves:
        tokens[reserve.symbol] = _deploy_token(node, reserve)
        feeds[reserve.symbol] = _deploy_feed(node, reserve, feeds)
    node.settle()
    addresses = [tokens[reserve.symbol].address for reserve in reserves]
    sources = [feeds[reserve.symbol].address for reserve in reserves]
    admin(node, market.oracle, "setAssetSources", addresses, sources)
    inputs = [
        _listing_input(reserve, tokens[reserve.symbol], implementations, curves[reserve.volatile])
        for reserve in reserves
    ]
    admin(node, market.configurator, "initReserves", inputs, gas=100_000_000)
    node.settle()
    for reserve in reserves:
        _record(node, market, reserve, tokens[reserve.symbol], feeds[reserve.symbol])
    _configure(node, market, reserves)
    return market


def admin(
    node: Node, target: Contract, function: str, *arguments: object, gas: int = 10_000_000
) -> None:
    """Send a call of the market's owner, who holds every role."""
    data = target.artifact.encode(function, *arguments)
    node.send(Transaction(DEPLOYER, target.address, data, gas=gas))


def configure_collateral(node: Node, market: Market, reserve: Reserve, threshold: int) -> None:
    """Send a change of a reserve's liquidation threshold (basis points); its LTV follows."""
    token = market.listings[reserve.symbol].token.address
    ltv = min(reserve.ltv, threshold)
    function = "configureReserveAsCollateral"
    admin(node, market.configurator, function, token, ltv, threshold, reserve.bonus)


def wake(node: Node, market: Market, symbol: str) -> None:
    """Send what makes a dormant reserve usable: as collateral, and to borrow."""
    listing = market.listings[symbol]
    configure_collateral(node, market, listing.reserve, listing.reserve.threshold)
    admin(node, market.configurator, "setReserveBorrowing", listing.token.address, True)  # noqa: FBT003


def _create(node: Node, artifact: Artifact, *arguments: object) -> Contract:
    return Contract(node.deploy(DEPLOYER, artifact.creation(*arguments)), artifact)


def _deploy_libraries(node: Node) -> Mapping[str, str]:
    linked = {name: node.deploy(DEPLOYER, aave(name).creation()) for name in LIBRARIES}
    flash = aave("FlashLoanLogic").creation(libraries=linked)
    return linked | {"FlashLoanLogic": node.deploy(DEPLOYER, flash)}


def _deploy_core(node: Node, libraries: Mapping[str, str]) -> Market:
    provider = _create(node, aave("PoolAddressesProvider"), "Chimera devnet", DEPLOYER)
    admin(node, provider, "setACLAdmin", DEPLOYER)
    node.settle()  # the ACL manager asks the provider in its constructor
    acl = _create(node, aave("ACLManager"), provider.address)
    admin(node, provider, "setACLManager", acl.address)
    for role in ("addPoolAdmin", "addEmergencyAdmin", "addRiskAdmin", "addAssetListingAdmin"):
        admin(node, acl, role, DEPLOYER)
    data_provider = _create(node, aave("AaveProtocolDataProvider"), provider.address)
    admin(node, provider, "setPoolDataProvider", data_provider.address)
    for name, setter in (
        ("L2Pool", "setPoolImpl"),
        ("PoolConfigurator", "setPoolConfiguratorImpl"),
    ):
        arguments = (provider.address,) if name == "L2Pool" else ()
        code = aave(name).creation(*arguments, libraries=libraries)
        admin(node, provider, setter, node.deploy(DEPLOYER, code))
    oracle = _create(node, aave("AaveOracle"), provider.address, [], [], ZERO, ZERO, USD_UNIT)
    admin(node, provider, "setPriceOracle", oracle.address)
    node.settle()
    pool = Contract(node.read(provider, "getPool"), aave("L2Pool"))
    configurator = Contract(node.read(provider, "getPoolConfigurator"), aave("PoolConfigurator"))
    return Market(provider, pool, configurator, oracle, acl, data_provider)


def _deploy_curve(node: Node, market: Market, *, volatile: bool) -> str:
    curve = rate_curve(volatile=volatile)
    strategy = aave("DefaultReserveInterestRateStrategy")
    return _create(node, strategy, market.provider.address, *curve).address


def _deploy_token(node: Node, reserve: Reserve) -> Contract:
    name = f"{reserve.symbol} of the devnet"
    return _create(node, aave("MintableERC20"), name, reserve.symbol, reserve.decimals)


def _deploy_feed(node: Node, reserve: Reserve, feeds: Mapping[str, Contract]) -> Contract:
    if reserve.wraps:
        base = feeds[reserve.wraps].address
        return _create(node, ours("RatioFeed"), base, START_RATIO, RATIO_GROWTH)
    aggregator = _create(node, ours("Aggregator"), FEED_DECIMALS, reserve.price)
    description = f"{reserve.symbol} / USD"
    return _create(node, ours("AggregatorProxy"), aggregator.address, description)


def _listing_input(
    reserve: Reserve, token: Contract, implementations: Sequence[str], curve: str
) -> tuple[object, ...]:
    names = [
        part + reserve.symbol
        for side in ("a", "variableDebt", "stableDebt")
        for part in (f"Aave {side} ", side)
    ]
    token_parts = (reserve.decimals, curve, token.address, TREASURY, ZERO)
    return (*implementations, *token_parts, *names, b"")


def _record(node: Node, market: Market, reserve: Reserve, token: Contract, feed: Contract) -> None:
    tokens = node.read(market.data_provider, "getReserveTokensAddresses", token.address)
    a_token, debt = (
        Contract(tokens[0], aave("AToken")),
        Contract(tokens[2], aave("VariableDebtToken")),
    )
    market.listings[reserve.symbol] = Listing(reserve, token, a_token, debt, feed)


def _configure(node: Node, market: Market, reserves: Sequence[Reserve]) -> None:
    category = (EMODE_ETH, EMODE_LTV, EMODE_THRESHOLD, EMODE_BONUS, ZERO, "ETH correlated")
    admin(node, market.configurator, "setEModeCategory", *category)
    for reserve in reserves:
        for function, *arguments in _settings(reserve):
            token = market.listings[reserve.symbol].token.address
            admin(node, market.configurator, function, token, *arguments)
    admin(node, market.configurator, "updateFlashloanPremiumTotal", FLASH_PREMIUM)
    node.settle()


def _settings(reserve: Reserve) -> Iterator[tuple[Any, ...]]:
    yield "setReserveFactor", RESERVE_FACTOR
    yield "setLiquidationProtocolFee", PROTOCOL_FEE
    yield "setReserveFlashLoaning", True
    if reserve.debt_ceiling:  # before any supplier
        yield "setDebtCeiling", reserve.debt_ceiling
    if not reserve.dormant:
        limits = (reserve.ltv, reserve.threshold, reserve.bonus)
        yield "configureReserveAsCollateral", *limits
    if reserve.borrowable:
        yield "setReserveBorrowing", True
    if reserve.borrowable_in_isolation:
        yield "setBorrowableInIsolation", True
    if reserve.emode:  # after the category
        yield "setAssetEModeCategory", reserve.emode
