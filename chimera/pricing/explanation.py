"""Why an account stands where it stands: the arithmetic, what would turn it, and what it pays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from chimera.domain.block import Address
from chimera.domain.health import VERDICT, Pair, Step, Valuation
from chimera.domain.market import Account, Holder, Market, Quoted
from chimera.domain.numeric import decimal_string
from chimera.ports import Adapter
from chimera.pricing.turning import Turn, turning

PERCENT_PLACES = 4


def explanation(
    adapter: Adapter[Any],
    market: Market,
    account: Account,
    timestamp: int,
    holder: Holder | None = None,
) -> list[Step]:
    """
    List every input and step of a health factor, the prices that turn it, and the best pair.

    The last step is the adapter's verdict. `holder` says whose account it is, where that is known.
    """
    case = _Case(adapter, market, account, timestamp, adapter.value(market, account, timestamp))
    arithmetic = adapter.explain(market, account, timestamp, holder)
    return [
        *(step for step in arithmetic if step.name != VERDICT),
        *case.turns(),
        *case.best(),
        *(step for step in arithmetic if step.name == VERDICT),
    ]


@dataclass(frozen=True, slots=True)
class _Case:
    adapter: Adapter[Any]
    market: Market
    account: Account
    timestamp: int
    valuation: Valuation

    def turns(self) -> Iterator[Step]:
        """Name the price of each leg, alone, at which the health factor crosses 1."""
        if self.valuation.health.factor is None:
            return
        for asset, (price, quoted) in self._moving().items():
            turn = turning(partial(self._unhealthy, asset), price)
            yield Step(f"{quoted.name} turns at", _told(turn, price, quoted))

    def best(self) -> Iterator[Step]:
        """Name the pair that a liquidator would take, its amounts and its bonus."""
        if not self.valuation.health.is_unhealthy:
            return
        pair = self.adapter.verdict(self.market, self.account, self.timestamp).best
        if pair is not None:
            yield Step("best pair", self._pair(pair))
            yield Step("bonus of the best pair", f"{self._money(pair.gross_bonus)} before costs")

    def _moving(self) -> dict[Address, tuple[int, Quoted]]:
        """Return the legs' prices, then whatever else that is no token moves this account."""
        quotes = self.adapter.quotes(self.market)
        held = self.adapter.assets(self.market, self.account)
        found: dict[Address, tuple[int, Quoted]] = {}
        for asset, quoted in self.adapter.quoted(self.market, self.account).items():
            price = quotes.get(asset)
            if price and (asset in held or self._moves(asset, 2 * price)):
                found[asset] = price, quoted
        return found

    def _moves(self, asset: Address, price: int) -> bool:
        market = self.adapter.priced(self.market, asset, price)
        health = self.adapter.health(market, self.account, self.timestamp)
        return health != self.valuation.health

    def _unhealthy(self, asset: Address, price: int) -> bool | None:
        market = self.adapter.priced(self.market, asset, price)
        health = self.adapter.health(market, self.account, self.timestamp)
        return None if health.error is not None else health.is_unhealthy

    def _pair(self, pair: Pair) -> str:
        repaid = self._amount(pair.debt_asset, pair.max_repay)
        return f"repay {repaid}, seize {self._amount(pair.collateral_asset, pair.seize)}"

    def _amount(self, asset: Address, amount: int) -> str:
        token = self.adapter.tokens(self.market).get(asset)
        places = 0 if token is None else token.decimals
        return f"{decimal_string(amount, places)} {self._name(asset)}"

    def _name(self, asset: Address) -> str:
        token = self.adapter.tokens(self.market).get(asset)
        return f"0x{asset.hex()}" if token is None else token.symbol

    def _money(self, amount: int) -> str:
        valuation = self.valuation
        return f"{decimal_string(amount, valuation.base_decimals)} {valuation.base_currency}"


def _told(turn: Turn | None, price: int, quoted: Quoted) -> str:
    if turn is None:
        return "never: no price of it alone does"
    change = _percent(turn.price - price, price)
    shown = f"{quoted.written(turn.price)} {quoted.currency}"
    return f"{shown} ({change}), under 1 {turn.under} it"


def _percent(change: int, price: int) -> str:
    """Write a change as a percentage, cut (not rounded) to its places."""
    cut = abs(change) * 100 * 10**PERCENT_PLACES // price
    sign = "-" if change < 0 else "+"
    return f"{sign}{decimal_string(cut, PERCENT_PLACES)} %"
