"""The real Morpho Blue on a local chain: its singleton, its rate models, markets of every sort."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from devnet.artifacts import Artifact, ArtifactError, ours
from devnet.compiler import MODULES, Project, compiled
from devnet.market import DEPLOYER, ZERO, admin
from devnet.node import MULTICALL3, Contract, Node

PACKAGE = MODULES / "@morpho-org" / "morpho-blue"
SOURCES = ("Morpho.sol", "libraries/EventsLib.sol", "mocks/IrmMock.sol", "mocks/OracleMock.sol")
BLUE = Project(
    "morpho",
    PACKAGE / "src",
    lots=(SOURCES,),
    seals=(PACKAGE / "package.json",),
    evm="paris",
    compiler="solc-0.8.19",
)
IRM = "types/factories/lib/morpho-blue-irm/src/adaptive-curve-irm/AdaptiveCurveIrm__factory.js"
IRM_FACTORY = MODULES / "@morpho-org" / "morpho-blue-bundlers" / IRM
IRM_CODE = re.compile(r'_bytecode = "(0x[0-9a-f]+)"')
IRM_ABI = [
    {"type": "constructor", "inputs": [{"name": "morpho", "type": "address"}]},
    {
        "type": "function",
        "name": "rateAtTarget",
        "inputs": [{"name": "", "type": "bytes32"}],
        "outputs": [{"name": "", "type": "int256"}],
    },
]
WAD = 10**18
PRICE_DIGITS = 36  # Morpho's prices: raw loan units per raw collateral unit, times 1e36
FEED_DECIMALS = 8
RATIO_START, RATIO_GROWTH = 118 * 10**16, 10**9  # wrapped tokens: at first, and more every second
HAND = "hand"  # an oracle whose price is set directly, and never logged


def percent(thousandths: int) -> int:
    """Return so many thousandths in WAD."""
    return thousandths * 10**15


@dataclass(frozen=True, slots=True)
class Coin:
    """A token: decimals, first price in USD (8 decimals), and what it wraps, if anything."""

    decimals: int
    price: int
    wraps: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """
    A market to create.

    Attributes:
        collateral: Symbol; empty in an idle market, which has no collateral and no oracle.
        lltv: WAD.
        fee: WAD.
        irm: "adaptive", "linear" (the rate is the utilisation per year), or empty for no interest.
        oracle: Empty for the two tokens' feeds, or `HAND`.
        people: How many of a hundred borrowers come here.
        use: How much of what is supplied is borrowed at first, percent.
    """

    loan: str
    collateral: str
    lltv: int
    fee: int = 0
    irm: str = "adaptive"
    oracle: str = ""
    people: int = 0
    use: int = 80


COINS = {
    "USDC": Coin(6, 10**8),
    "WETH": Coin(18, 2_500 * 10**8),
    "WBTC": Coin(8, 60_000 * 10**8),
    "EURS": Coin(2, 108_000_000),
    "wstETH": Coin(18, 2_950 * 10**8, wraps="WETH"),
}
PLANS = (
    Plan("USDC", "WETH", percent(860), fee=percent(100), people=24, use=88),
    Plan("USDC", "WETH", percent(770), people=14, use=93),  # the same oracle, another limit
    Plan("USDC", "WBTC", percent(860), fee=percent(50), people=14, use=75),
    Plan("WETH", "wstETH", percent(945), people=14, use=90),  # drifts without a log
    Plan("WETH", "USDC", percent(860), fee=percent(250), irm="linear", people=10, use=60),
    Plan("WETH", "WBTC", percent(915), people=8, use=50),
    Plan("EURS", "WETH", percent(625), irm="", people=8, use=70),
    Plan("USDC", "WBTC", percent(980), oracle=HAND, people=8, use=85),
    Plan("USDC", "", 0, irm=""),
)
LATER = (  # created while life goes on, in this order
    Plan("USDC", "WETH", percent(915)),
    Plan("USDC", "WBTC", percent(770), irm="linear"),
    Plan("WETH", "wstETH", percent(965), irm=""),
    Plan("USDC", "WETH", percent(385)),
    Plan("WETH", "USDC", percent(770)),
)


@dataclass(frozen=True, slots=True)
class Params:
    """What names a market for ever. Addresses are EIP-55 strings."""

    loan: str
    collateral: str
    oracle: str
    irm: str
    lltv: int

    @property
    def row(self) -> tuple[str, str, str, str, int]:
        """As the contract takes it."""
        return self.loan, self.collateral, self.oracle, self.irm, self.lltv

    @property
    def id(self) -> bytes:
        """Return the market's 32 bytes."""
        return keccak(encode(["address", "address", "address", "address", "uint256"], self.row))


@dataclass(frozen=True, slots=True)
class Listed:
    """A market with its plan; the symbols of its tokens lead to the prices."""

    plan: Plan
    params: Params


@dataclass
class Core:
    """Everything that is deployed. `listed` is what the stage knows of markets, by id."""

    morpho: Contract
    events: Artifact
    lens: Contract
    from_block: int
    irms: dict[str, Contract | None] = field(default_factory=dict)
    tokens: dict[str, Contract] = field(default_factory=dict)
    feeds: dict[str, Contract] = field(default_factory=dict)
    aggregators: dict[str, Contract] = field(default_factory=dict)
    hand: Contract | None = None
    oracles: dict[tuple[str, str], str] = field(default_factory=dict)  # (loan, collateral)
    listed: dict[bytes, Listed] = field(default_factory=dict)

    def params(self, plan: Plan) -> Params:
        """Return the parameters of a plan; everything it names has been deployed."""
        irm = self.irms[plan.irm]
        collateral, oracle = ZERO, ZERO
        if plan.collateral:
            collateral = self.tokens[plan.collateral].address
            oracle = self.oracles.get((plan.loan, plan.collateral), ZERO)
        if plan.oracle == HAND and self.hand is not None:
            oracle = self.hand.address
        loan = self.tokens[plan.loan].address
        return Params(loan, collateral, oracle, irm.address if irm else ZERO, plan.lltv)


@cache
def blue(name: str) -> Artifact:
    """
    Return a contract of Morpho Blue 1.0.0, compiled from its authors' sources.

    Raises:
        CompileError: The npm parts are not installed.
    """
    document = compiled(BLUE)[name]
    return Artifact(name, document["abi"], document["bytecode"], document["links"])


@cache
def adaptive_curve() -> Artifact:
    """
    Return the real AdaptiveCurveIrm, as its authors compiled it.

    Raises:
        ArtifactError: The npm parts are not installed, or hold no code.
    """
    if not IRM_FACTORY.is_file():
        raise ArtifactError(f"{IRM_FACTORY} is missing: run `npm ci` in {MODULES.parent}")
    found = IRM_CODE.search(IRM_FACTORY.read_text())
    if found is None:
        raise ArtifactError(f"no code of AdaptiveCurveIrm in {IRM_FACTORY}")
    return Artifact("AdaptiveCurveIrm", IRM_ABI, found[1])


def create(node: Node, artifact: Artifact, *arguments: object) -> Contract:
    """Send a deployment by the owner."""
    return Contract(node.deploy(DEPLOYER, artifact.creation(*arguments)), artifact)


def deploy(node: Node) -> Core:
    """
    Deploy everything and create the first markets, on whatever chain the node has.

    Raises:
        Reverted: A part of it did not work out.
    """
    if node.rpc("eth_getCode", MULTICALL3, "latest") == "0x":
        node.install_multicall3(DEPLOYER)
    first = node.number + 1
    morpho = create(node, blue("Morpho"), DEPLOYER)
    core = Core(morpho, blue("EventsLib"), create(node, ours("MorphoLens")), first)
    core.irms["adaptive"] = create(node, adaptive_curve(), morpho.address)
    core.irms["linear"] = create(node, blue("IrmMock"))
    core.irms[""] = None
    _deploy_tokens(node, core)
    _deploy_oracles(node, core)
    for irm in core.irms.values():
        admin(node, morpho, "enableIrm", irm.address if irm else ZERO)
    for lltv in sorted({plan.lltv for plan in (*PLANS, *LATER)}):
        admin(node, morpho, "enableLltv", lltv)
    create_markets(node, core, PLANS)
    node.settle()
    return core


def create_markets(node: Node, core: Core, plans: Sequence[Plan]) -> None:
    """Send what creates the markets and sets their fees."""
    for plan in plans:
        params = core.params(plan)
        core.listed[params.id] = Listed(plan, params)
        admin(node, core.morpho, "createMarket", params.row)
        if plan.fee:
            admin(node, core.morpho, "setFee", params.row, plan.fee)


def first_price(plan: Plan) -> int:
    """Return what the oracle of a plan answers on the day of deployment (scaled by 1e36)."""
    base, quote = COINS[plan.collateral].price, COINS[plan.loan].price
    return _scale(plan.loan, plan.collateral) * base // quote


def _deploy_tokens(node: Node, core: Core) -> None:
    proxy, aggregator = ours("AggregatorProxy"), ours("Aggregator")
    for symbol, coin in COINS.items():
        token = ours("MorphoToken")
        core.tokens[symbol] = create(node, token, core.morpho.address, symbol, coin.decimals)
        if coin.wraps:
            base = core.feeds[coin.wraps].address
            ratio = ours("RatioFeed")
            core.feeds[symbol] = create(node, ratio, base, RATIO_START, RATIO_GROWTH)
            continue
        core.aggregators[symbol] = create(node, aggregator, FEED_DECIMALS, coin.price)
        at = core.aggregators[symbol].address
        core.feeds[symbol] = create(node, proxy, at, f"{symbol} / USD")


def _deploy_oracles(node: Node, core: Core) -> None:
    for plan in (*PLANS, *LATER):
        pair = plan.loan, plan.collateral
        if plan.oracle == HAND:
            core.hand = create(node, blue("OracleMock"))
            admin(node, core.hand, "setPrice", first_price(plan))
        elif plan.collateral and pair not in core.oracles:
            base, quote = core.feeds[plan.collateral].address, core.feeds[plan.loan].address
            oracle = create(node, ours("MorphoOracle"), base, quote, _scale(*pair))
            core.oracles[pair] = oracle.address


def _scale(loan: str, collateral: str) -> int:
    return int(10 ** (PRICE_DIGITS + COINS[loan].decimals - COINS[collateral].decimals))
