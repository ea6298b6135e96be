"""The versions of Aave that can be deployed, each with what it does in its own way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from eth_abi.abi import encode

from devnet.artifacts import Artifact, aave, origin
from devnet.market import DEPLOYER, TREASURY, USD_UNIT, ZERO, Edition, Market, Setting, admin
from devnet.node import Contract, Node
from devnet.reserves import (
    EMODE_BONUS,
    EMODE_ETH,
    LATER_RESERVES,
    RESERVES,
    Reserve,
    rate_curve,
)

FLASH_PREMIUM = 5  # basis points
ROLES = ("addPoolAdmin", "addEmergencyAdmin", "addRiskAdmin", "addAssetListingAdmin")
LABEL = "ETH correlated"
RAY_PER_BPS = 10**23


def create(node: Node, artifact: Artifact, *arguments: object) -> Contract:
    """Send a deployment by the owner."""
    return Contract(node.deploy(DEPLOYER, artifact.creation(*arguments)), artifact)


class First:
    """Aave v3.0.2: stable debt, one category per asset, aTokens that arrive as collateral."""

    version: ClassVar[str] = "3.0.2"
    reserves: ClassVar[tuple[Reserve, ...]] = RESERVES
    enables_received: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = (
        "SupplyLogic",
        "BorrowLogic",
        "LiquidationLogic",
        "EModeLogic",
        "BridgeLogic",
        "ConfiguratorLogic",
        "PoolLogic",
    )

    def deploy_core(self, node: Node) -> Market:
        """Deploy everything but the reserves."""
        libraries = _deploy_libraries(node, aave, self.libraries)
        provider, acl = _deploy_access(node, aave)
        data_provider = create(node, aave("AaveProtocolDataProvider"), provider.address)
        admin(node, provider, "setPoolDataProvider", data_provider.address)
        pool = aave("L2Pool").creation(provider.address, libraries=libraries)
        admin(node, provider, "setPoolImpl", node.deploy(DEPLOYER, pool))
        configurator = aave("PoolConfigurator").creation(libraries=libraries)
        configurator_at = node.deploy(DEPLOYER, configurator)
        admin(node, provider, "setPoolConfiguratorImpl", configurator_at)
        oracle = _deploy_oracle(node, aave, provider)
        market = Market(
            self,
            provider,
            Contract(node.read(provider, "getPool"), aave("L2Pool")),
            Contract(node.read(provider, "getPoolConfigurator"), aave("PoolConfigurator")),
            oracle,
            acl,
            data_provider,
        )
        for name in ("AToken", "StableDebtToken", "VariableDebtToken"):
            market.parts[name] = create(node, aave(name), market.pool.address).address
        for name, volatile in (("volatile", True), ("steady", False)):
            curve = [bps * RAY_PER_BPS for bps in rate_curve(volatile=volatile)]
            strategy = aave("DefaultReserveInterestRateStrategy")
            rates = (*curve, *(0, 0, 0, 0, 0))  # stable borrowing is off
            market.parts[name] = create(node, strategy, provider.address, *rates).address
        return market

    def a_token(self) -> Artifact:
        """How to speak to an aToken."""
        return aave("AToken")

    def debt_token(self) -> Artifact:
        """How to speak to a variable debt token."""
        return aave("VariableDebtToken")

    def listing_input(self, market: Market, reserve: Reserve, token: str) -> tuple[object, ...]:
        """Return the InitReserveInput of a reserve."""
        parts = market.parts
        implementations = (parts["AToken"], parts["StableDebtToken"], parts["VariableDebtToken"])
        curve = parts["volatile" if reserve.volatile else "steady"]
        names = _names(reserve, ("a", "variableDebt", "stableDebt"))
        return (*implementations, reserve.decimals, curve, token, TREASURY, ZERO, *names, b"")

    def category(self, ltv: int, threshold: int) -> Setting:
        """Return what sets the limits of the ETH category (basis points)."""
        return ("setEModeCategory", EMODE_ETH, ltv, threshold, EMODE_BONUS, ZERO, LABEL)

    def membership(self, token: str, category: int, *, member: bool) -> Iterator[Setting]:
        """Return what takes a token into a category, or out of it."""
        yield "setAssetEModeCategory", token, category if member else 0

    def around(self, market: Market) -> Iterator[Setting]:
        """Return what the market still needs once its reserves are configured."""
        for listing in market.listings.values():
            if category := listing.reserve.emode:
                yield from self.membership(listing.token.address, category, member=True)
        yield "updateFlashloanPremiumTotal", FLASH_PREMIUM

    def unpause(self, token: str, grace: int) -> Setting:  # noqa: ARG002 - there is none yet
        """Return what ends a pause."""
        return "setReservePause", token, False


class Later:
    """Aave v3.6.0: liquid categories, virtual balances, deficits, the dust rule."""

    version: ClassVar[str] = "3.6.0"
    reserves: ClassVar[tuple[Reserve, ...]] = LATER_RESERVES
    enables_received: ClassVar[bool] = False
    libraries: ClassVar[tuple[str, ...]] = (
        "SupplyLogic",
        "BorrowLogic",
        "LiquidationLogic",
        "ConfiguratorLogic",
        "PoolLogic",
    )

    def deploy_core(self, node: Node) -> Market:
        """Deploy everything but the reserves."""
        libraries = _deploy_libraries(node, origin, self.libraries)
        provider, acl = _deploy_access(node, origin)
        strategy = create(node, origin("DefaultReserveInterestRateStrategyV2"), provider.address)
        pool = origin("L2PoolInstance")
        code = pool.creation(provider.address, strategy.address, libraries=libraries)
        admin(node, provider, "setPoolImpl", node.deploy(DEPLOYER, code))
        configurator = origin("PoolConfiguratorInstance")
        configurator_at = node.deploy(DEPLOYER, configurator.creation(libraries=libraries))
        admin(node, provider, "setPoolConfiguratorImpl", configurator_at)
        data_provider = create(node, origin("AaveProtocolDataProvider"), provider.address)
        admin(node, provider, "setPoolDataProvider", data_provider.address)
        oracle = _deploy_oracle(node, origin, provider)
        market = Market(
            self,
            provider,
            Contract(node.read(provider, "getPool"), pool),
            Contract(node.read(provider, "getPoolConfigurator"), configurator),
            oracle,
            acl,
            data_provider,
        )
        at = market.pool.address
        tokens = {"ATokenInstance": (at, ZERO, TREASURY), "VariableDebtTokenInstance": (at, ZERO)}
        for name, arguments in tokens.items():
            market.parts[name] = create(node, origin(name), *arguments).address
        return market

    def a_token(self) -> Artifact:
        """How to speak to an aToken."""
        return origin("ATokenInstance")

    def debt_token(self) -> Artifact:
        """How to speak to a variable debt token."""
        return origin("VariableDebtTokenInstance")

    def listing_input(self, market: Market, reserve: Reserve, token: str) -> tuple[object, ...]:
        """Return the InitReserveInput of a reserve."""
        tokens = (market.parts["ATokenInstance"], market.parts["VariableDebtTokenInstance"])
        curve = encode(["(uint16,uint32,uint32,uint32)"], [rate_curve(volatile=reserve.volatile)])
        return (*tokens, token, *_names(reserve, ("a", "variableDebt")), b"", curve)

    def category(self, ltv: int, threshold: int) -> Setting:
        """Return what sets the limits of the ETH category (basis points)."""
        return ("setEModeCategory", EMODE_ETH, ltv, threshold, EMODE_BONUS, LABEL)

    def membership(self, token: str, category: int, *, member: bool) -> Iterator[Setting]:
        """Return what takes a token into a category, or out of it, as collateral."""
        yield "setAssetCollateralInEMode", token, category, member

    def around(self, market: Market) -> Iterator[Setting]:
        """Return what the market still needs once its reserves are configured."""
        for listing in market.listings.values():
            token, category = listing.token.address, listing.reserve.emode
            if category:
                yield from self.membership(token, category, member=True)
            if category and listing.reserve.borrowable:
                yield "setAssetBorrowableInEMode", token, category, True
        yield "updateFlashloanPremium", FLASH_PREMIUM

    def unpause(self, token: str, grace: int) -> Setting:
        """Return what ends a pause, with seconds of grace for those under 1."""
        return "setReservePause", token, False, grace


EDITIONS: Mapping[str, Edition] = {one.version: one for one in (First(), Later())}


def _deploy_libraries(
    node: Node, artifact: Callable[[str], Artifact], names: tuple[str, ...]
) -> Mapping[str, str]:
    linked = {name: node.deploy(DEPLOYER, artifact(name).creation()) for name in names}
    flash = artifact("FlashLoanLogic").creation(libraries=linked)
    return linked | {"FlashLoanLogic": node.deploy(DEPLOYER, flash)}


def _deploy_access(node: Node, artifact: Callable[[str], Artifact]) -> tuple[Contract, Contract]:
    provider = create(node, artifact("PoolAddressesProvider"), "Chimera devnet", DEPLOYER)
    admin(node, provider, "setACLAdmin", DEPLOYER)
    node.settle()  # the ACL manager asks the provider in its constructor
    acl = create(node, artifact("ACLManager"), provider.address)
    admin(node, provider, "setACLManager", acl.address)
    for role in ROLES:
        admin(node, acl, role, DEPLOYER)
    return provider, acl


def _deploy_oracle(node: Node, artifact: Callable[[str], Artifact], provider: Contract) -> Contract:
    arguments: tuple[object, ...] = (provider.address, [], [], ZERO, ZERO, USD_UNIT)
    oracle = create(node, artifact("AaveOracle"), *arguments)
    admin(node, provider, "setPriceOracle", oracle.address)
    node.settle()
    return oracle


def _names(reserve: Reserve, sides: tuple[str, ...]) -> list[str]:
    return [part + reserve.symbol for side in sides for part in (f"Aave {side} ", side)]
