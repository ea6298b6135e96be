"""What the contracts of Venus say, read without any of Chimera's code, and worked out again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from eth_utils.address import to_checksum_address

from devnet.node import Node, RpcError, address_in, bytes_of, tag
from devnet.venus_actions import LIQUIDATOR, VenusActions
from devnet.venus_market import WAD, ZERO, VenusMarket, venus

NO_ERROR, PRICE_ERROR, SNAPSHOT_ERROR = 0, 13, 15  # ComptrollerErrorReporter.Error
DUST = 9  # smallest units of which no close factor allows to repay one, or hardly
THRESHOLD = 1  # WeightFunction.USE_LIQUIDATION_THRESHOLD
View = tuple[int, int, int]  # error, liquidity, shortfall (dollars, 18 decimals)


class TruthError(Exception):
    """The comptroller's view is not what its parts add up to; the message has both."""


class Snapshot(NamedTuple):
    """VToken.getAccountSnapshot: error, vTokens, debt in the underlying, exchange rate (stored)."""

    error: int
    tokens: int
    owed: int
    rate: int


class Sums(NamedTuple):
    """Weighted collateral and debt of one account, dollars with 18 decimals."""

    collateral: int
    borrow: int

    @property
    def health_factor(self) -> int | None:
        """Collateral over debt in WAD, truncated; None without debt."""
        return self.collateral * WAD // self.borrow if self.borrow else None


class Position(NamedTuple):
    """One account: its pool, the listed markets it is in, and its snapshot in every market."""

    pool: int
    entered: tuple[str, ...]
    snapshots: dict[str, Snapshot]

    @property
    def owes(self) -> bool:
        """Whether it owes anything anywhere."""
        return any(one.owed for one in self.snapshots.values())

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield what could be liquidated: a debt that is no dust, and an entered collateral."""
        for debt, leg in self.snapshots.items():
            for collateral in self.entered:
                if leg.owed > DUST and self.snapshots[collateral].tokens:
                    yield debt, collateral


class VenusTruth:
    """Reads of one core pool, pinned to a block. vTokens are named by their addresses."""

    def __init__(self, node: Node, market: VenusMarket) -> None:
        self._node = node
        self._market = market
        self._act = VenusActions(market)

    def at(self, block: int | str = "latest") -> dict[str, View | None]:
        """
        Return getAccountLiquidity of everyone in debt (liquidation thresholds, spot prices).

        None where the view reverts (an oracle that is down).
        """
        return self.views(self.borrowers_now(block), block)

    def views(
        self, users: Sequence[str], block: int | str = "latest", view: str = "getAccountLiquidity"
    ) -> dict[str, View | None]:
        """Return a view of each account: the error, and by how much it is over or under."""
        pool, width = self._market.comptroller, 4
        selector = pool.artifact.encode(view, ZERO)[:4]
        words = self._look("views", block, pool.address, selector, users)
        return {
            user: (words[at + 1], words[at + 2], words[at + 3]) if words[at] else None
            for user, at in zip(users, range(0, len(words), width), strict=True)
        }

    def sums(self, block: int | str = "latest") -> dict[str, Sums | None]:
        """
        Return both sums of everyone in debt; None where the view reverts or tells an error.

        Raises:
            TruthError: They are not what the view says, for somebody.
        """
        positions = self.debtors(block)
        views = self.views(list(positions), block)
        prices = self.prices(block)
        limits = self._thresholds(positions, block)
        found: dict[str, Sums | None] = {}
        for user, position in positions.items():
            error, total = _add_up(position, prices, limits)
            if expected(error, total) != views[user]:
                raise TruthError(f"{user} at {block}: {error} {total}, but {views[user]}")
            found[user] = total if error == NO_ERROR else None
        return found

    def health_factors(self, block: int | str = "latest") -> dict[str, int | None]:
        """Return the health factor of everyone in debt, WAD; None where there is none."""
        return {
            user: None if total is None else total.health_factor
            for user, total in self.sums(block).items()
        }

    def positions(self, users: Sequence[str], block: int | str = "latest") -> dict[str, Position]:
        """Return what each account has and owes, in every market that is listed."""
        places = self.v_tokens(block)
        pool, width = self._market.comptroller, 2 + len(Snapshot._fields) * len(places)
        words = self._look("positions", block, pool.address, users, places)
        return {
            user: _position(words[at : at + width], places)
            for user, at in zip(users, range(0, len(words), width), strict=True)
        }

    def prices(self, block: int | str = "latest") -> dict[str, int | None]:
        """Return the spot price of every market; None where the oracle reverts."""
        pool, places = self._market.comptroller, self.v_tokens(block)
        oracle = address_in(
            self._node.call(pool.address, pool.artifact.encode("oracle"), block).hex()
        )
        ask = self._market.oracle.artifact.encode
        calls = [(oracle, ask("getUnderlyingPrice", place)) for place in places]
        answers = self._node.multicall(calls, block)
        return {
            place: None if answer is None else int.from_bytes(answer)
            for place, answer in zip(places, answers, strict=True)
        }

    def v_tokens(self, block: int | str = "latest") -> list[str]:
        """Return every market that the comptroller lists."""
        pool = self._market.comptroller
        answer = self._node.call(pool.address, pool.artifact.encode("getAllMarkets"), block)
        return [to_checksum_address(at) for at in pool.artifact.decode("getAllMarkets", answer)[0]]

    def borrowers_ever(self, block: int | str = "latest") -> list[str]:
        """Return everyone who ever borrowed, from the Borrow logs of the vTokens."""
        borrow = venus("VBep20Delegate").topic("Borrow")
        logs = self._node.logs(addresses=self.v_tokens(block), topics=[borrow], last=block)
        return sorted({address_in(log["data"][: 2 + 64]) for log in logs})

    def borrowers_now(self, block: int | str = "latest") -> list[str]:
        """Return everyone with a debt in some market."""
        return list(self.debtors(block))

    def debtors(self, block: int | str = "latest") -> dict[str, Position]:
        """Return the position of everyone with a debt in some market."""
        positions = self.positions(self.borrowers_ever(block), block)
        return {user: one for user, one in positions.items() if one.owes}

    def liquidation(
        self, user: str, debt: str, collateral: str, repay: int, block: int | str = "latest"
    ) -> int | None:
        """
        Return what liquidateBorrow of a rich liquidator answers: 0, or the error of a refusal.

        Debt and collateral are symbols, `repay` smallest units of the debt. None: it reverts.
        """
        call = self._act.liquidate(user, debt, collateral, repay)
        request = {"from": LIQUIDATOR, "to": call.to, "data": "0x" + call.data.hex()}
        try:
            answer = bytes_of(self._node.rpc("eth_call", request, tag(block)))
        except RpcError:
            return None
        return int.from_bytes(answer)

    def verdicts(
        self, users: Sequence[str], block: int | str = "latest"
    ) -> dict[tuple[str, str, str], int | None]:
        """
        Return what liquidateBorrow answers for every user, debt and entered collateral (symbols).

        The least amount is repaid; debts of which the close factor allows nothing are left out.
        """
        names = {one.v_token.address: symbol for symbol, one in self._market.listings.items()}
        return {
            (user, names[debt], names[collateral]): self.liquidation(
                user, names[debt], names[collateral], 1, block
            )
            for user, position in self.positions(users, block).items()
            for debt, collateral in position.pairs()
        }

    def near(self, most: int, block: int | str = "latest") -> list[str]:
        """Return the `most` accounts whose health factors are nearest to 1."""
        factors = self.health_factors(block)
        known = {user: one for user, one in factors.items() if one is not None}
        return sorted(known, key=lambda user: (abs(known[user] - WAD), user))[:most]

    def digest(self, block: int | str = "latest") -> str:
        """Return one hash over every position and every view, to compare two chains."""
        users = self.borrowers_ever(block)
        positions, views = self.positions(users, block), self.views(users, block)
        text = "\n".join(f"{user} {positions[user]} {views[user]}" for user in users)
        return hashlib.sha256(text.encode()).hexdigest()

    def _look(self, function: str, block: int | str, *arguments: object) -> list[int]:
        lens = self._market.lens
        answer = self._node.call(lens.address, lens.artifact.encode(function, *arguments), block)
        words = [int.from_bytes(answer[at : at + 32]) for at in range(0, len(answer), 32)]
        return words[2:]  # an array comes behind its place and its length

    def _thresholds(
        self, positions: dict[str, Position], block: int | str
    ) -> dict[tuple[int, str], int]:
        # The threshold depends on the account by its pool only, so one member speaks for all.
        members = {position.pool: user for user, position in positions.items()}
        pool, places = self._market.comptroller, self.v_tokens(block)
        keys = [(number, place) for number in members for place in places]
        ask = pool.artifact.encode
        calls = [
            (pool.address, ask("getEffectiveLtvFactor", members[number], place, THRESHOLD))
            for number, place in keys
        ]
        answers = self._node.multicall(calls, block)
        return {
            key: int.from_bytes(answer or b"") for key, answer in zip(keys, answers, strict=True)
        }


def expected(error: int | None, total: Sums) -> View | None:
    """Return what the view has to say about these sums."""
    if error is None:
        return None
    if error != NO_ERROR:
        return error, 0, 0
    over = total.collateral - total.borrow
    return NO_ERROR, max(over, 0), max(-over, 0)


def liquidatable(views: dict[str, View | None]) -> Iterable[str]:
    """Return everyone whom the view puts in shortfall."""
    return (user for user, view in views.items() if view is not None and view[2])


def _add_up(
    position: Position, prices: dict[str, int | None], limits: dict[tuple[int, str], int]
) -> tuple[int | None, Sums]:
    collateral = borrow = 0
    nothing = Sums(0, 0)
    for place in position.entered:
        one, price = position.snapshots[place], prices[place]
        if one.error:
            return SNAPSHOT_ERROR, nothing
        if not one.tokens and not one.owed:
            continue  # its price is not even asked for
        if not price:
            return (None if price is None else PRICE_ERROR), nothing
        weight = limits[position.pool, place] * one.rate // WAD * price // WAD
        collateral += weight * one.tokens // WAD
        borrow += price * one.owed // WAD
    return NO_ERROR, Sums(collateral, borrow)


def _position(words: Sequence[int], places: Sequence[str]) -> Position:
    width = len(Snapshot._fields)
    snapshots = {
        place: Snapshot(*words[at : at + width])
        for place, at in zip(places, range(2, len(words), width), strict=True)
    }
    entered = words[1].to_bytes(32).lstrip(b"\0")
    return Position(words[0], tuple(places[number - 1] for number in entered), snapshots)
