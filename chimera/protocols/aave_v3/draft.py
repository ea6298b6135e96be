"""The market of one block while its logs are being read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from chimera.domain.abi import address_of
from chimera.domain.block import Address, BlockBatch, Log
from chimera.domain.changes import Change
from chimera.errors import Rebuild
from chimera.ports import Accounts
from chimera.protocols.aave_v3.engine import Engine, Move
from chimera.protocols.aave_v3.events import rates_of
from chimera.protocols.aave_v3.lacking import Extras
from chimera.protocols.aave_v3.market import AaveMarket, Configuration, Reserve, priced
from chimera.protocols.aave_v3.math import normalized_debt, normalized_income
from chimera.protocols.aave_v3.reading import allowed_by, prices_in, sentinel_calls

Words = tuple[int, int]
"""Amount that a `Mint` or `Burn` moves, and the index."""


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
    The market while its block is being read, and who of the users in it is followed.

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
        accounts: Accounts,
        batch: BlockBatch,
        found: Extras,
        tables: Tables,
    ) -> None:
        self.tables = tables
        self.batch = batch
        self.extras = found
        self.engine = market.engine
        self.accounts = accounts
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
        # What was read holds the end of this block, so this block's logs must not be added to it.
        self._everybody = accounts.complete  # then nobody has to be read
        self._followed: dict[Address, bool] = dict.fromkeys(found.accounts, False)

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

    def follows(self, user: Address) -> bool:
        """Tell whether this block's logs move the user's account, as decided at the first one."""
        if self._everybody:
            return True
        known = self._followed.get(user)
        if known is None:
            known = self._followed[user] = self.accounts.get(user) is not None
        return known

    def configure(self, asset: Address, change: Callable[[Configuration], Configuration]) -> None:
        """Change the configuration of a reserve."""
        reserve = self.reserves[asset]
        changed = replace(reserve, configuration=change(reserve.configuration))
        self.reserves = {**self.reserves, asset: changed}

    def supply_of(self, user: Address, asset: Address) -> int:
        """Return the user's scaled supply as it stands before the next log."""
        account = self.accounts.get(user)
        place = account[0].supply_place(asset) if account else None
        return account[place] if account and place else 0

    def debt_of(self, user: Address, asset: Address) -> int:
        """Return the user's scaled debt as it stands before the next log."""
        account = self.accounts.get(user)
        place = account[0].debt_place(asset) if account else None
        return account[place] if account and place else 0

    def move_debt(self, user: Address, asset: Address, token: Address, words: Words) -> int:
        """Return by how much a log moves the user's scaled debt, and count it into the total."""
        amount, index = words
        if self.follows(user):
            delta = self.moves[token](self.debt_of(user, asset), amount, index)
        else:
            before = self._strangers.get((user, asset), 0)
            delta = self.moves[token](before, amount, index)
            self._strangers[user, asset] = before + delta
        self.debt_totals[asset] += delta
        return delta

    def read_rates(self) -> None:
        """Take the rates that were announced last."""
        for topic, log in self.announced.items():
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
            for token, move in _moves(after.engine, reserve).items():
                if self.moves[token] != move:
                    raise Rebuild(
                        f"the tokens of {self.reserves[asset].symbol} round otherwise since this "
                        "block, and none of its logs tells from where on: read them instead"
                    )
        return replace(after, dropped=self.dropped, heirs=self.heirs)


def _moves(engine: Engine, reserve: Reserve) -> dict[Address, Move]:
    return {reserve.supply_token: engine.supply_moved, reserve.debt_token: engine.debt_moved}


Handler = Callable[[Draft, Log], Iterator[Change] | tuple[Change, ...]]
