"""What the owners of a market do in its life: limits, categories, pauses, new reserves."""

from __future__ import annotations

import random

from devnet.aave import list_reserve, record
from devnet.actions import BANK, LIQUIDATOR, PURSE, Actions, near
from devnet.happenings import DORMANT
from devnet.market import Market, configure, configure_collateral, wake
from devnet.node import Contract, Node
from devnet.prices import Prices
from devnet.reserves import EMODE_ETH, EMODE_LTV, EMODE_THRESHOLD, LATECOMER

THRESHOLD_STEP = 300  # basis points around the first threshold
ADJUSTABLE = ("USDC", "WBTC", "DAI", "EURS")
PAUSABLE = ("EURS", "WBTC", "LINK")
PAUSE_BLOCKS = (1, 2)
GRACES = (0, 0, 3_600)  # seconds
ROAMER = "wstETH"  # leaves its category now and then, and comes back
AWAY_BLOCKS = (1, 3)


class Governance:
    """
    The hand of the owners. What is sent takes effect in the next mined block.

    Attributes:
        awake: Whether the dormant reserve has become usable.
    """

    def __init__(self, node: Node, market: Market, prices: Prices, rng: random.Random) -> None:
        self._node = node
        self._market = market
        self._prices = prices
        self._rng = rng
        self._paused: dict[str, int] = {}  # symbol -> blocks left
        self._away = 0  # blocks that the roamer stays out of its category
        self._listing: tuple[Contract, Contract] | None = None
        self.awake = False

    def routine(self) -> list[str]:
        """Send what is due: pauses that end, a reserve that returns to its category."""
        events = []
        for symbol, left in list(self._paused.items()):
            self._paused[symbol] = left - 1
            if left <= 1:
                del self._paused[symbol]
                token = self._token(symbol)
                setting = self._market.edition.unpause(token, self._rng.choice(GRACES))
                configure(self._node, self._market, setting)
                events.append("unpause")
        if self._away:
            self._away -= 1
            if not self._away:
                self._move_roamer(member=True)
                events.append("emode_assets")
        return events

    def threshold(self) -> None:
        """Change a liquidation threshold a little."""
        reserve = self._market.listings[self._rng.choice(ADJUSTABLE)].reserve
        low = reserve.threshold - THRESHOLD_STEP
        threshold = low + near(self._rng, 0, 1, 2 * THRESHOLD_STEP)
        configure_collateral(self._node, self._market, reserve, threshold)

    def wake(self) -> None:
        """Make the dormant reserve usable, and supply some of it."""
        wake(self._node, self._market, DORMANT)
        reserve = self._market.listings[DORMANT].reserve
        amount = near(self._rng, 0.1, 0.2, reserve.liquidity) * reserve.unit
        self._node.send(Actions(self._market).supply(BANK, DORMANT, amount))
        self.awake = True

    def emode_category(self) -> None:
        """Change the limits of the ETH category."""
        ltv = EMODE_LTV - self._rng.randint(0, 100)
        threshold = EMODE_THRESHOLD + self._rng.randint(-150, 100)
        configure(self._node, self._market, self._market.edition.category(ltv, threshold))

    def emode_assets(self) -> None:
        """Take a reserve out of its category for some blocks."""
        if not self._away:
            self._away = self._rng.randint(*AWAY_BLOCKS)
            self._move_roamer(member=False)

    def pause(self) -> None:
        """Pause a reserve for some blocks."""
        symbol = self._rng.choice(PAUSABLE)
        if symbol not in self._paused:
            self._paused[symbol] = self._rng.randint(*PAUSE_BLOCKS)
            configure(self._node, self._market, ("setReservePause", self._token(symbol), True))

    def listing(self) -> None:
        """List a reserve that nobody has known before, and supply a lot of it."""
        token, feed = list_reserve(self._node, self._market, LATECOMER)
        for owner in (BANK, LIQUIDATOR):
            amount = PURSE * LATECOMER.unit
            self._node.send(Actions.mint_of(token, owner, amount))
            self._node.send(Actions.approve_of(token, owner, self._market.pool.address))
        supply = ("supply", token.address, LATECOMER.liquidity * LATECOMER.unit, BANK, 0)
        self._node.send(Actions.to(self._market.pool, BANK, "setup", *supply))
        self._listing = (token, feed)

    def mined(self) -> None:
        """Note what the mined block has listed."""
        if self._listing:
            record(self._node, self._market, LATECOMER, *self._listing)
            self._prices.follow(LATECOMER.symbol)
            self._listing = None

    def _move_roamer(self, *, member: bool) -> None:
        token = self._token(ROAMER)
        for setting in self._market.edition.membership(token, EMODE_ETH, member=member):
            configure(self._node, self._market, setting)

    def _token(self, symbol: str) -> str:
        return self._market.listings[symbol].token.address
