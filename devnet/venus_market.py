"""Venus' core pool as its authors compiled it, deployed whole: comptroller, markets, pools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from eth_utils.abi import collapse_if_tuple
from eth_utils.crypto import keccak

from devnet.artifacts import Artifact, ArtifactError, ours
from devnet.compiler import MODULES
from devnet.node import Contract, Node, Transaction

VENUS = MODULES / "@venusprotocol" / "venus-protocol" / "artifacts" / "contracts"
OWNER = "0x1000000000000000000000000000000000000021"
TREASURY = "0x2000000000000000000000000000000000000022"
ZERO = "0x0000000000000000000000000000000000000000"
ON, OFF = True, False
WAD = 10**18
UNLIMITED = 2**256 - 1
SETUP_GAS = 20_000_000
CORE, STABLE_POOL, STRICT_POOL = 0, 1, 2
POOL_LIMITS = (90, 92)  # percent: factor and threshold of the members of the pools of risk
FACETS = ("MarketFacet", "PolicyFacet", "SetterFacet", "RewardFacet", "FlashLoanFacet")
ADD = 0  # IDiamondCut.FacetCutAction
V_TOKEN_DECIMALS, V_TOKEN_UNIT = 8, 10**8
START_RATE = WAD // 50  # underlying per vToken, both in whole tokens
CLOSE_FACTOR = WAD // 2
# Rates are capped at 5e-6 per block, so a year has to be at least so short for interest to show.
BLOCKS_PER_YEAR = 100_000
FLASH_FEES = WAD * 9 // 10_000, WAD * 3 // 10  # of the loan, and the protocol's part of that
SELDOM, OFTEN = 100_000, 9  # blocks between two transfers of the reserves to the treasury


def percent(hundredths: int) -> int:
    """Return a percentage as a mantissa."""
    return hundredths * WAD // 100


JUMP = ("JumpRateModel", percent(1), percent(9), percent(100), percent(80), BLOCKS_PER_YEAR)
PLAIN = ("WhitePaperInterestRateModel", percent(2), percent(20), BLOCKS_PER_YEAR)
KINKED = (
    "TwoKinksInterestRateModel",
    *(percent(0), percent(8), percent(40), percent(15), percent(2), percent(80), percent(150)),
    BLOCKS_PER_YEAR,
)
# Negative beyond its first kink: the rate is held at 0 there, and rises again after the second.
FALLING = (
    "TwoKinksInterestRateModel",
    *(percent(3), percent(4), percent(10), -percent(20), percent(1), percent(85), percent(300)),
    BLOCKS_PER_YEAR,
)


@dataclass(frozen=True, slots=True)
class Asset:
    """
    An asset to list.

    Attributes:
        decimals: Of the underlying token.
        price: Dollars for one whole token, a mantissa.
        factor: Collateral factor, percent: what may be borrowed.
        threshold: Liquidation threshold, percent.
        incentive: What a liquidator gets for what he repays, percent.
        liquidity: Whole tokens that the bank lends at first.
        model: Constructor of the rate model.
        restless: How far its price moves, against the others.
        delta: Blocks after which an accrual sends the reserves away.
        old: Whether it has the proxy, and at first the implementation, that came before: its cash
            is whatever it has, donations included, and it logs Mint and Redeem as Compound does.
    """

    symbol: str
    decimals: int
    price: int
    factor: int
    threshold: int
    incentive: int
    liquidity: int
    model: tuple[object, ...] = JUMP
    restless: int = 3
    delta: int = SELDOM
    old: bool = False

    @property
    def unit(self) -> int:
        """Smallest units in a whole token."""
        unit: int = 10**self.decimals
        return unit

    @property
    def first_rate(self) -> int:
        """The exchange rate before anybody has supplied."""
        return START_RATE * self.unit // V_TOKEN_UNIT

    def answer(self, price: int) -> int:
        """Return a price in dollars per whole token as the oracle of Venus answers it."""
        return price * WAD // self.unit


ASSETS = (
    Asset("USDC", 6, WAD, 82, 84, 107, 60_000_000, KINKED, restless=1),
    Asset("DAI", 18, WAD * 9998 // 10000, 75, 78, 108, 40_000_000, KINKED, 1, OFTEN),
    Asset("WETH", 18, 2_500 * WAD, 78, 80, 110, 20_000, JUMP),
    Asset("WBTC", 8, 61_000 * WAD + 7, 72, 74, 110, 900, PLAIN, old=True),
    Asset("CARDS", 0, 37 * WAD, 50, 53, 115, 400_000, JUMP, delta=OFTEN),
)
LATECOMER = Asset("XVS", 18, 6 * WAD, 55, 58, 120, 2_000_000, KINKED)


@dataclass(frozen=True)
class Listing:
    """A listed market with the contracts that belong to it."""

    asset: Asset
    token: Contract
    v_token: Contract


@dataclass
class VenusMarket:
    """A deployed core pool. Addresses are EIP-55 strings."""

    comptroller: Contract
    oracle: Contract
    access: str
    share_reserve: str
    implementation: str
    old_implementation: str
    lens: Contract
    flash: str
    listings: dict[str, Listing] = field(default_factory=dict)

    def listing_at(self, v_token: str) -> Listing:
        """Return the listing of a vToken's address."""
        return next(one for one in self.listings.values() if one.v_token.address == v_token)


@cache
def venus(name: str) -> Artifact:
    """
    Return a contract of Venus as its authors compiled it.

    Raises:
        ArtifactError: The npm parts are not installed.
    """
    found = sorted(VENUS.rglob(f"{name}.sol/{name}.json"))
    if not found:
        raise ArtifactError(f"no {name} under {VENUS}: run `npm ci` in {MODULES.parent}")
    document = json.loads(found[0].read_text())
    return Artifact(name, document["abi"], document["bytecode"])


@cache
def comptroller_artifact() -> Artifact:
    """Return how to speak to the comptroller: its proxy, its diamond and all facets at once."""
    parts = [venus(name) for name in ("Unitroller", "Diamond", *FACETS)]
    return Artifact("Comptroller", [entry for part in parts for entry in part.abi], "0x")


def create(node: Node, artifact: Artifact, *arguments: object) -> Contract:
    """Send a deployment by the owner."""
    return Contract(node.deploy(OWNER, artifact.creation(*arguments)), artifact)


def order(target: Contract, kind: str, function: str, *arguments: object) -> Transaction:
    """Return a call of the owner, who may do everything."""
    data = target.artifact.encode(function, *arguments)
    return Transaction(OWNER, target.address, data, kind, SETUP_GAS)


def admin(node: Node, target: Contract, function: str, *arguments: object) -> None:
    """Send a call of the owner."""
    node.send(order(target, "setup", function, *arguments))


def deploy(node: Node) -> VenusMarket:
    """
    Deploy the pool with all of `ASSETS`, and two pools of risk beside the core pool.

    The owner's nonces start at 0, so every address is the same each time.

    Raises:
        Reverted: It is there already.
    """
    market = _deploy_core(node)
    for asset in ASSETS:
        listing = create_market(node, market, asset)
        market.listings[asset.symbol] = listing
        for listed in listing_orders(market, listing):
            node.send(listed)
    for ordered in _pool_orders(market):
        node.send(ordered)
    node.settle()
    return market


def create_market(node: Node, market: VenusMarket, asset: Asset) -> Listing:
    """Send the deployments of one market, which is not listed by them."""
    token = create(node, ours("VenusToken"), asset.symbol, asset.decimals)
    model = create(node, venus(str(asset.model[0])), *asset.model[1:])
    v_token = create(
        node,
        venus("VBep20DelegatorR1" if asset.old else "VBep20Delegator"),
        *(token.address, market.comptroller.address, model.address, asset.first_rate),
        *(f"Venus {asset.symbol}", f"v{asset.symbol}", V_TOKEN_DECIMALS),
        *(OWNER, market.old_implementation if asset.old else market.implementation, b""),
    )
    return Listing(asset, token, Contract(v_token.address, venus("VBep20Delegate")))


def listing_orders(market: VenusMarket, listing: Listing) -> Iterator[Transaction]:
    """Yield what lists a market that has been created, with all its limits."""
    v_token, asset, pool = listing.v_token, listing.asset, market.comptroller
    place = v_token.address
    orders = (
        (v_token, "setAccessControlManager", market.access),
        (v_token, "setProtocolShareReserve", market.share_reserve),
        (v_token, "setReduceReservesBlockDelta", asset.delta),
        (v_token, "_setReserveFactor", percent(15)),
        (market.oracle, "set", place, asset.answer(asset.price)),
        (pool, "_supportMarket", place),
        (pool, "_setMarketSupplyCaps", [place], [UNLIMITED]),
        (pool, "_setMarketBorrowCaps", [place], [UNLIMITED]),
        (pool, "setLiquidationIncentive", place, percent(asset.incentive)),
        (pool, "setCollateralFactor", place, percent(asset.factor), percent(asset.threshold)),
        (pool, "setIsBorrowAllowed", CORE, place, ON),
    )
    for target, function, *arguments in orders:
        yield order(target, "setup", function, *arguments)
    if not asset.old:
        yield order(v_token, "setup", "setFlashLoanEnabled", ON)
        yield order(v_token, "setup", "setFlashLoanFeeMantissa", *FLASH_FEES)


def _deploy_core(node: Node) -> VenusMarket:
    unitroller = create(node, venus("Unitroller"))
    diamond = create(node, venus("Diamond"))
    pool = Contract(unitroller.address, comptroller_artifact())
    admin(node, pool, "_setPendingImplementation", diamond.address)
    admin(node, diamond, "_become", unitroller.address)
    admin(node, pool, "diamondCut", _cut(node))
    access = create(node, ours("VenusAccess")).address
    oracle = create(node, ours("VenusOracle"))
    admin(node, pool, "_setAccessControl", access)
    admin(node, pool, "_setComptrollerLens", create(node, venus("ComptrollerLens")).address)
    admin(node, pool, "_setPriceOracle", oracle.address)
    admin(node, pool, "setDeviationBoundedOracle", oracle.address)
    admin(node, pool, "_setCloseFactor", CLOSE_FACTOR)
    share_reserve = create(node, ours("VenusShareReserve")).address
    implementation = create(node, venus("VBep20Delegate")).address
    old = create(node, venus("VBep20DelegateR1")).address
    lens = create(node, ours("VenusLens"))
    flash = create(node, ours("VenusFlash")).address
    return VenusMarket(pool, oracle, access, share_reserve, implementation, old, lens, flash)


def _cut(node: Node) -> list[tuple[str, int, list[bytes]]]:
    taken = set(_selectors(venus("Diamond")))
    cut = []
    for name in FACETS:
        facet = create(node, venus(name))
        selectors = [one for one in _selectors(venus(name)) if one not in taken]
        taken.update(selectors)
        cut.append((facet.address, ADD, selectors))
    return cut


def _selectors(artifact: Artifact) -> list[bytes]:
    return [
        keccak(text=f"{entry['name']}({','.join(_types(entry['inputs']))})")[:4]
        for entry in artifact.abi
        if entry["type"] == "function"
    ]


def _types(parameters: list[dict[str, Any]]) -> list[str]:
    return [collapse_if_tuple(parameter) for parameter in parameters]


def _pool_orders(market: VenusMarket) -> Iterator[Transaction]:
    pool = market.comptroller
    at = {symbol: one.v_token.address for symbol, one in market.listings.items()}
    for label in ("stable", "strict"):
        yield order(pool, "setup", "createPool", label)
    members = [(STABLE_POOL, "USDC"), (STABLE_POOL, "DAI"), (STRICT_POOL, "WETH")]
    members.append((STRICT_POOL, "USDC"))
    numbers, symbols = zip(*members, strict=True)
    yield order(pool, "setup", "addPoolMarkets", numbers, [at[symbol] for symbol in symbols])
    yield order(pool, "setup", "setAllowCorePoolFallback", STABLE_POOL, ON)
    for number, symbol in members:
        place, limits = at[symbol], [percent(limit) for limit in POOL_LIMITS]
        yield order(pool, "setup", "setLiquidationIncentive", number, place, percent(105))
        yield order(pool, "setup", "setCollateralFactor", number, place, *limits)
        yield order(pool, "setup", "setIsBorrowAllowed", number, place, ON)
