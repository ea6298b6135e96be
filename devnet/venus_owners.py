"""What the owners of the core pool do in its life: prices, limits, pools, pauses, upgrades."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from devnet.actions import PURSE
from devnet.artifacts import ours
from devnet.node import Contract, Node, Transaction
from devnet.venus_actions import BANK, LIQUIDATOR, VenusActions
from devnet.venus_market import (
    FALLING,
    JUMP,
    KINKED,
    LATECOMER,
    OFF,
    OFTEN,
    ON,
    OWNER,
    PLAIN,
    POOL_LIMITS,
    SELDOM,
    STABLE_POOL,
    TREASURY,
    UNLIMITED,
    WAD,
    Asset,
    Listing,
    VenusMarket,
    create,
    create_market,
    listing_orders,
    order,
    percent,
    venus,
)

T = TypeVar("T")

LEAST, MOST = 70, 135  # percent of its first price between which a price wanders
STEP, LEAP, LEAPS = 300, 1400, 0.3  # basis points of a move; how often it is a leap
SLIDE_BLOCKS, SLIDE_STEP = (3, 5), (150, 500)
BPS = 10_000
DIP_SYMBOL, DIP = "WETH", 88  # percent, for one block
DARK = "CARDS"  # the asset whose price fails now and then
OFF_BLOCKS = (1, 2)  # how long what is switched off stays off
# Where a zero price, a dead oracle, a pause and so on end of themselves.
ACTIONS_PAUSED = (0, 2, 4, 5)  # MINT, BORROW, SEIZE, LIQUIDATE
SWITCH_WAIT = 40  # seconds after the stage is built at which a rate model changes by itself


@dataclass(frozen=True)
class Spares:
    """Contracts that exist from the beginning and come into use later."""

    models: tuple[str, ...]
    oracles: tuple[Contract, ...]
    implementations: tuple[str, ...]
    latecomer: Listing

    @classmethod
    def make(cls, node: Node, market: VenusMarket) -> Spares:
        """Deploy them."""
        made = [
            create(node, venus(str(m[0])), *m[1:]).address for m in (KINKED, PLAIN, FALLING, JUMP)
        ]
        switch = node.time + SWITCH_WAIT
        made.insert(2, create(node, venus("CheckpointView"), made[0], made[1], switch).address)
        oracles = market.oracle, create(node, ours("VenusOracle"))
        implementations = market.implementation, create(node, venus("VBep20Delegate")).address
        latecomer = create_market(node, market, LATECOMER)
        node.settle()
        return cls(tuple(made), oracles, implementations, latecomer)


class VenusOwners:
    """
    The owners' hand. Each event is a list of transactions for the next block.

    Attributes:
        answers: Dollars per whole token by symbol, mantissas, as last ordered.
    """

    def __init__(self, market: VenusMarket, spares: Spares, rng: random.Random) -> None:
        self._market = market
        self._spares = spares
        self._rng = rng
        self._used = {"rate_model": 0, "oracle": 0, "upgrade": 0}
        self._ends: list[tuple[int, Callable[[], list[Transaction]]]] = []
        self._steps = 0
        self._listing = False
        self._dark_until = 0
        self._slide: tuple[str, int, int] | None = None
        self.answers = {symbol: one.asset.price for symbol, one in market.listings.items()}

    def routine(self) -> list[Transaction]:
        """Return what is due by itself: the end of what was switched off, a slide that goes on."""
        self._steps += 1
        due = [end for step, end in self._ends if step <= self._steps]
        self._ends = [one for one in self._ends if one[0] > self._steps]
        return [t for end in due for t in end()] + (self._slide_on() if self._slide else [])

    def event(self, name: str) -> list[Transaction]:
        """Return what belongs to an event, by the name of its method."""
        happens: Callable[[], list[Transaction]] = getattr(self, name)
        return happens()

    # -- prices ----------------------------------------------------------------------------------

    def price(self) -> list[Transaction]:
        """Move one price."""
        symbol = self._restless()
        most = LEAP if self._rng.random() < LEAPS else STEP
        most //= 1 if self._asset(symbol).restless > 1 else 6
        return self.move(symbol, self._rng.randint(-most, most))

    def slide(self) -> list[Transaction]:
        """Begin to move one price in one direction for several blocks."""
        symbols = [s for s in self.answers if self._asset(s).restless > 1]
        direction, blocks = self._rng.choice((-1, -1, 1)), self._rng.randint(*SLIDE_BLOCKS)
        self._slide = (self._rng.choice(symbols), direction, blocks)
        return self._slide_on()

    def dip(self) -> list[Transaction]:
        """Let a price fall, and come back after one block."""
        before = self.answers[DIP_SYMBOL]
        self._later(1, lambda: self.quote(DIP_SYMBOL, before, "recovery"))
        return self.quote(DIP_SYMBOL, before * DIP // 100, "dip")

    def zero_price(self) -> list[Transaction]:
        """Let the oracle answer 0 for a while."""
        self._dark_until = self._steps + OFF_BLOCKS[1]
        self._later_off(lambda: self.quote(DARK, self.answers[DARK], "price_back"))
        return self._order(self._market.oracle, "zero_price", "set", self._at(DARK), 0)

    def dead_price(self) -> list[Transaction]:
        """Let the oracle revert for a while."""
        dead, at = self._market.oracle, self._at(DARK)
        self._dark_until = self._steps + OFF_BLOCKS[1]
        self._later_off(lambda: self._order(dead, "oracle_back", "kill", at, OFF))
        return self._order(dead, "dead_price", "kill", at, ON)

    def oracle(self) -> list[Transaction]:
        """Replace the oracle by another one with the same prices."""
        fresh, pool = self._next("oracle", self._spares.oracles), self._market.comptroller
        self._market.oracle = fresh
        orders = [t for s, price in self.answers.items() for t in self.quote(s, price, "setup")]
        orders += self._order(pool, "oracle", "setPriceOracle", fresh.address)
        return orders + self._order(pool, "setup", "setDeviationBoundedOracle", fresh.address)

    # -- limits ----------------------------------------------------------------------------------

    def collateral_factor(self) -> list[Transaction]:
        """Change the factor and the threshold of a market a little."""
        lit = self._steps > self._dark_until  # an asset without a price cannot be configured
        symbol = self._rng.choice(("WETH", "USDC", "DAI", *lit * [DARK]))
        asset, shift = self._asset(symbol), self._rng.randint(-3, 2)
        limits = (percent(asset.factor + shift), percent(asset.threshold + shift))
        return self._pool("collateral_factor", "setCollateralFactor", self._at(symbol), *limits)

    def pool_limits(self) -> list[Transaction]:
        """Change the limits of a member of the stable pool."""
        place, shift = self._at(self._rng.choice(("USDC", "DAI"))), self._rng.randint(-4, 1)
        limits = [percent(limit + shift) for limit in POOL_LIMITS]
        return self._pool("pool_limits", "setCollateralFactor", STABLE_POOL, place, *limits)

    def incentive(self) -> list[Transaction]:
        """Change what liquidators get."""
        symbol = self._rng.choice(tuple(self.answers))
        shift = self._steps % 3 + 1  # never what it is: an unchanged value reverts
        incentive = percent(self._asset(symbol).incentive) + shift * WAD // 1000 + self._steps
        return self._pool("incentive", "setLiquidationIncentive", self._at(symbol), incentive)

    def close_factor(self) -> list[Transaction]:
        """Change how much of a debt may be repaid at once."""
        factor = percent(40 + self._rng.randint(0, 45)) + self._steps
        return self._pool("close_factor", "setCloseFactor", factor)

    def rate_model(self) -> list[Transaction]:
        """Give a market another rate model."""
        v_token = self._market.listings[self._rng.choice(("WETH", "USDC", "WBTC"))].v_token
        model = self._next("rate_model", self._spares.models)
        return self._order(v_token, "rate_model", "_setInterestRateModel", model)

    def reserve_factor(self) -> list[Transaction]:
        """Change the part of the interest that becomes reserves."""
        factor = percent(self._rng.randint(5, 40))
        return self._order(self._any(), "reserve_factor", "_setReserveFactor", factor)

    def treasury(self) -> list[Transaction]:
        """Charge redeemers a fee for a while."""
        fee, data = percent(1) // 7, "_setTreasuryData"
        self._later_off(lambda: self._pool("treasury_off", data, OWNER, TREASURY, 0))
        return self._pool("treasury", data, OWNER, TREASURY, fee)

    # -- reserves and cash -----------------------------------------------------------------------

    def reduce_reserves(self) -> list[Transaction]:
        """Give to the reserves of a market and send a part of it on to the treasury."""
        symbol = self._rng.choice(("USDC", "WETH", "WBTC"))
        amount = self._asset(symbol).unit
        v_token = self._market.listings[symbol].v_token
        given = VenusActions(self._market).add_reserves(symbol, 2 * amount)
        return [given, *self._order(v_token, "reduce_reserves", "_reduceReserves", amount)]

    def soft_reduce(self) -> list[Transaction]:
        """Try to take more out of the reserves than there is."""
        v_token = self._market.listings["USDC"].v_token
        return self._order(v_token, "soft_reduce", "_reduceReserves", 10**14)

    def sync_cash(self) -> list[Transaction]:
        """Count in what was donated."""
        choices = [symbol for symbol in self.answers if not self._asset(symbol).old]
        v_token = self._market.listings[self._rng.choice(choices)].v_token
        return self._order(v_token, "sync_cash", "sweepTokenAndSync", 0)

    def reserve_delta(self) -> list[Transaction]:
        """Change how often reserves leave by themselves."""
        delta = self._rng.choice((2, OFTEN, SELDOM))
        return self._order(self._any(), "reserve_delta", "setReduceReservesBlockDelta", delta)

    # -- switches --------------------------------------------------------------------------------

    def pause(self) -> list[Transaction]:
        """Pause an action on a market for a while."""
        places, actions = [self._at(self._restless())], [self._rng.choice(ACTIONS_PAUSED)]
        pause = "setActionsPaused"
        self._later_off(lambda: self._pool("unpause", pause, places, actions, OFF))
        return self._pool("pause", pause, places, actions, ON)

    def protocol_pause(self) -> list[Transaction]:
        """Pause everything for one block."""
        self._later(1, lambda: self._pool("protocol_unpause", "_setProtocolPaused", OFF))
        return self._pool("protocol_pause", "_setProtocolPaused", ON)

    def pool_off(self) -> list[Transaction]:
        """Switch the stable pool off for a while: its people fall back to the core limits."""
        self._later_off(lambda: self._pool("pool_on", "setPoolActive", STABLE_POOL, ON))
        return self._pool("pool_off", "setPoolActive", STABLE_POOL, OFF)

    def fallback_off(self) -> list[Transaction]:
        """Let what is no member of the stable pool count for nothing, for a while."""
        switch = "setAllowCorePoolFallback"
        self._later_off(lambda: self._pool("fallback_on", switch, STABLE_POOL, ON))
        return self._pool("fallback_off", switch, STABLE_POOL, OFF)

    def forced(self) -> list[Transaction]:
        """Allow everybody who owes an asset to be liquidated, for a while."""
        place, switch = self._at("DAI"), "setForcedLiquidation"
        self._later_off(lambda: self._pool("unforced", switch, place, OFF))
        return self._pool("forced", switch, place, ON)

    # -- new parts -------------------------------------------------------------------------------

    def upgrade(self) -> list[Transaction]:
        """Put another implementation behind a vToken."""
        return self._implement(
            "WETH", "upgrade", self._next("upgrade", self._spares.implementations)
        )

    def modernise(self) -> list[Transaction]:
        """Put today's implementation behind an old vToken, which then counts its cash once."""
        symbol = next(symbol for symbol in self.answers if self._asset(symbol).old)
        v_token = self._market.listings[symbol].v_token
        orders = self._implement(symbol, "modernise", self._market.implementation)
        return orders + self._order(v_token, "setup", "sweepTokenAndSync", 0)

    def listing(self) -> list[Transaction]:
        """List a market that nobody has known before, and supply a lot of it."""
        late = self._spares.latecomer
        if late.asset.symbol in self._market.listings:
            return []
        self._listing = True
        orders = list(listing_orders(self._market, late))
        amount, place = PURSE * late.asset.unit, late.v_token.address
        for owner in (BANK, LIQUIDATOR):
            orders.append(VenusActions.to(late.token, owner, "setup", "mint", owner, amount))
            approve = VenusActions.to(late.token, owner, "setup", "approve", place, UNLIMITED)
            orders.append(approve)
        supply = late.asset.liquidity * late.asset.unit
        mint = VenusActions.to(late.v_token, BANK, "listing", "mintBehalf", BANK, supply)
        return [*orders, mint]

    def mined(self) -> None:
        """Take note of what the last block has brought: a market that is listed now."""
        if self._listing:
            late = self._spares.latecomer
            self._market.listings.setdefault(late.asset.symbol, late)
            self.answers.setdefault(late.asset.symbol, late.asset.price)

    # -- the tools of all these ------------------------------------------------------------------

    def move(self, symbol: str, bps: int, kind: str = "price") -> list[Transaction]:
        """Move a price by basis points, within reason."""
        first = self._asset(symbol).price
        moved = self.answers[symbol] * (BPS + bps) // BPS
        return self.quote(symbol, min(max(moved, first * LEAST // 100), first * MOST // 100), kind)

    def quote(self, symbol: str, price: int, kind: str = "price") -> list[Transaction]:
        """Let the oracle answer a price, dollars per whole token (mantissa)."""
        self.answers[symbol] = price
        answer = self._asset(symbol).answer(price)
        return self._order(self._market.oracle, kind, "set", self._at(symbol), answer)

    def _slide_on(self) -> list[Transaction]:
        if self._slide is None:
            return []
        symbol, direction, left = self._slide
        self._slide = (symbol, direction, left - 1) if left > 1 else None
        return self.move(symbol, direction * self._rng.randint(*SLIDE_STEP), "slide")

    def _implement(self, symbol: str, kind: str, implementation: str) -> list[Transaction]:
        proxy = Contract(self._at(symbol), venus("VBep20Delegator"))
        return self._order(proxy, kind, "_setImplementation", implementation, OFF, b"")

    def _later(self, steps: int, end: Callable[[], list[Transaction]]) -> None:
        self._ends.append((self._steps + steps, end))

    def _later_off(self, end: Callable[[], list[Transaction]]) -> None:
        self._later(self._rng.randint(*OFF_BLOCKS), end)

    def _next(self, what: str, choices: tuple[T, ...]) -> T:
        self._used[what] += 1
        return choices[self._used[what] % len(choices)]

    def _restless(self) -> str:
        weights = [self._asset(symbol).restless for symbol in self.answers]
        return self._rng.choices(list(self.answers), weights)[0]

    def _any(self) -> Contract:
        return self._market.listings[self._rng.choice(tuple(self.answers))].v_token

    def _asset(self, symbol: str) -> Asset:
        return self._market.listings[symbol].asset

    def _at(self, symbol: str) -> str:
        return self._market.listings[symbol].v_token.address

    def _pool(self, kind: str, function: str, *arguments: object) -> list[Transaction]:
        return self._order(self._market.comptroller, kind, function, *arguments)

    @staticmethod
    def _order(target: Contract, kind: str, function: str, *arguments: object) -> list[Transaction]:
        return [order(target, kind, function, *arguments)]
