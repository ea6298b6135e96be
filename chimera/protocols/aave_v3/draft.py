"""The market of one block while its logs are being read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from chimera.domain.abi import address_of
from chimera.domain.block import Address, BlockBatch, Log
from chimera.errors import Rebuild
from chimera.protocols.aave_v3.balances import DEBT, Balances
from chimera.protocols.aave_v3.engine import Engine, Move
from chimera.protocols.aave_v3.events import rates_of
from chimera.protocols.aave_v3.lacking import Extras
from chimera.protocols.aave_v3.market import AaveMarket, Configuration, Reserve, priced
from chimera.protocols.aave_v3.math import normalized_debt, normalized_income
from chimera.protocols.aave_v3.reading import allowed_by, prices_in, sentinel_calls
from chimera.protocols.aave_v3.shapes import check_indexes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What the first topic of a log means, by the kind of contract that emits it."""

    pool: dict[bytes, Handler]
    configurator: dict[bytes, Handler]
    provider: dict[bytes, Handler]
    supply_token: dict[bytes, Handler]
    debt_token: dict[bytes, Handler]
    stable_debt_token: dict[bytes, Handler]

    def heard(self, market: AaveMarket) -> Heard:
        """Return how the logs of every contract of a market are understood."""
        doors = {
            market.pool: self.pool,
            market.configurator: self.configurator,
            market.provider: self.provider,
        }
        heard = Heard(doors, {}, {})
        for reserve in market.reserves.values():
            heard = self.heard_also(heard, market.engine, reserve)
        return heard

    def heard_also(self, heard: Heard, engine: Engine, reserve: Reserve) -> Heard:
        """Return it for the tokens of one more reserve, too."""
        tables = {
            reserve.supply_token: self.supply_token,
            reserve.debt_token: self.debt_token,
            reserve.stable_debt_token: self.stable_debt_token,
        }
        return Heard(
            handlers=heard.handlers | tables,
            asset_of=heard.asset_of | dict.fromkeys(tables, reserve.asset),
            moves=heard.moves | _moves(engine, reserve),
        )


class Heard(NamedTuple):
    """How the logs of each contract are understood; of tokens, whose they are and what moves."""

    handlers: dict[Address, dict[bytes, Handler]]
    asset_of: dict[Address, Address]
    moves: dict[Address, Move]


class Draft:
    """
    The market while its block is being read, the accounts in it, and who was liquidated.

    What it has of the market's lasting parts are the market's own: a change replaces them whole, so
    that a block without one copies none of them. Rates, of which only the last ones of a block
    count, stay in their logs until somebody asks.

    `debt_totals` count everybody. Since v3.5 a log tells by how much a scaled balance moved only if
    the balance before is known. It always is: everybody with debt is in the book, so whoever is not
    has none when the block begins, and `_strangers` follows those until the block ends.
    """

    def __init__(
        self,
        market: AaveMarket,
        balances: Balances,
        batch: BlockBatch,
        found: Extras,
        tables: Tables,
    ) -> None:
        self.tables = tables
        self.batch = batch
        self.extras = found
        self.engine = market.engine
        self.balances = balances
        self.liquidated: list[Address] = []
        self.oracle = market.oracle
        self.sentinel = market.sentinel
        self.reserves = market.reserves
        self.rates = dict(market.rates)
        self.announced: dict[bytes, Log] = {}  # by asset as a topic: rates not yet in `rates`
        self.debt_totals = dict(market.debt_totals)
        self.modes = {**market.modes, **found.modes} if found.modes else market.modes
        self.dropped = market.dropped
        self.heirs = market.heirs
        self.handlers, self.asset_of, self.moves = market.lasting(tables.heard)
        self._strangers: dict[tuple[Address, Address], int] = {}  # (user, asset) -> scaled debt
        self._switched: set[Address] = set()

    def list(self, reserve: Reserve) -> None:
        """Take in a new reserve, and understand the logs of its tokens from here on."""
        self.reserves = {**self.reserves, reserve.asset: reserve}
        heard = Heard(self.handlers, self.asset_of, self.moves)
        heard = self.tables.heard_also(heard, self.engine, reserve)
        self.handlers, self.asset_of, self.moves = heard

    def switch(self, token: Address) -> None:
        """
        Understand a token by the new engine from here on, if there is one and it moves otherwise.

        Raises:
            Rebuild: The token was upgraded more than once, so that no log tells which rule holds.
        """
        after = self.extras.upgraded
        if after is None:
            return
        moves = _moves(after.engine, self.reserves[self.asset_of[token]])
        if moves[token] == self.moves[token] and token not in self._switched:
            return
        if token in self._switched:
            raise Rebuild(f"0x{token.hex()} was upgraded twice in one block: read it instead")
        self._switched.add(token)
        self.moves = self.moves | {token: moves[token]}

    def configure(self, asset: Address, change: Callable[[Configuration], Configuration]) -> None:
        """Change the configuration of a reserve."""
        reserve = self.reserves[asset]
        changed = replace(reserve, configuration=change(reserve.configuration))
        self.reserves = {**self.reserves, asset: changed}

    def move_debt(self, token: Address, user: Address, amount: int, index: int) -> None:
        """Move the user's scaled debt as a log says, and the total with it."""
        asset, rule = self.asset_of[token], self.moves[token]
        delta = self.balances.move(user, DEBT, asset, rule, amount, index)
        if delta is None:
            before = self._strangers.get((user, asset), 0)
            delta = rule(before, amount, index)
            self._strangers[user, asset] = before + delta
        self.debt_totals[asset] += delta

    def read_rates(self) -> None:
        """Take the rates that were announced last. Raises Rebuild where an index is 0."""
        for topic, log in self.announced.items():
            check_indexes(log)
            asset = address_of(topic)
            if asset in self.rates:
                self.rates[asset] = rates_of(log, self.batch.block.timestamp)
        self.announced.clear()

    def store_indexes(self, asset: Address) -> None:
        """Bring a reserve up to the block's time, unlogged. Mirrors ReserveLogic.updateState."""
        self.read_rates()
        time, rates = self.batch.block.timestamp, self.rates.get(asset)
        if rates is None:
            return
        stored = replace(rates, updated=time)
        if rates.liquidity_rate:
            stored = replace(stored, liquidity_index=normalized_income(rates, time))
        if self.debt_totals[asset]:
            debt_index = normalized_debt(self.engine.compound, rates, time)
            stored = replace(stored, debt_index=debt_index)
        self.rates[asset] = stored

    def finished(self, market: AaveMarket) -> AaveMarket:
        """Return the market at the end of the block, with the prices read there."""
        if self.extras.upgraded is not None:
            return self._upgraded(self.extras.upgraded)
        self.read_rates()
        guard = sentinel_calls(self.engine, self.sentinel)
        sources = priced(self.reserves, self.modes)
        base = self.extras.base or (market.base_currency, market.base_decimals)
        return market.moved(
            oracle=self.oracle,
            base_currency=base[0],
            base_decimals=base[1],
            reserves=self.reserves,
            rates=self.rates,
            debt_totals=self.debt_totals,
            modes=self.modes,
            prices=prices_in(self.oracle, sources, self.batch.readings),
            sentinel=self.sentinel,
            liquidations_allowed=allowed_by(guard, self.batch.readings),
            dropped=self.dropped,
            heirs=self.heirs,
        )

    def _upgraded(self, after: AaveMarket) -> AaveMarket:
        for asset, reserve in self.reserves.items():
            if asset not in after.reserves:
                raise Rebuild(f"{reserve.symbol} has left the list of reserves without a log")
            for token, move in _moves(after.engine, reserve).items():
                if self.moves[token] != move:
                    raise Rebuild(
                        f"the tokens of {self.reserves[asset].symbol} round otherwise since this "
                        "block, and none of its logs tells from where on: read them instead"
                    )
        return replace(after, dropped=self.dropped, heirs=self.heirs)


def _moves(engine: Engine, reserve: Reserve) -> dict[Address, Move]:
    return {reserve.supply_token: engine.supply_moved, reserve.debt_token: engine.debt_moved}


Handler = Callable[[Draft, Log], None]
