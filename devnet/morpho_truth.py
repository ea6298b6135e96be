"""What Morpho says about its markets and everybody in them, without any of Chimera's code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from eth_abi.abi import decode

from devnet.actions import LIQUIDATOR
from devnet.market import ZERO
from devnet.morpho_core import WAD, Core, Params
from devnet.node import Node, RpcError, address_in, bytes_of, tag

PRICE_SCALE = 10**36
VIRTUAL_SHARES, VIRTUAL_ASSETS = 10**6, 1
WORD = 2**256  # products from here on revert
PRICE_GAS = 20_000_000  # for an oracle's answer; a megabyte costs a tenth of it
LIQUIDATION_GAS = 60_000_000
PARAMS = "(address,address,address,address,uint256)"

Key = tuple[str, str]  # market as 0x and 64 digits, user with checksum


class Totals(NamedTuple):
    """Morpho.market(id)."""

    supply_assets: int
    supply_shares: int
    borrow_assets: int
    borrow_shares: int
    last_update: int
    fee: int


@dataclass(frozen=True, slots=True)
class Seen:
    """
    One market at a block.

    Attributes:
        stored: What `market` answers.
        accrued: What it answers after `accrueInterest`, both at the block's own time.
        accrues: Whether that call succeeds.
        price: The oracle's word as the contract would take it, None where it gives none.
    """

    params: Params
    stored: Totals
    accrued: Totals
    accrues: bool
    price: int | None


class Standing(NamedTuple):
    """
    One account. `max_borrow` is None where the contract cannot evaluate it.

    Attributes:
        borrow_shares: As stored.
        collateral: Smallest units, as stored.
        borrowed: Loan units after accrual at the block's own time, rounded up.
        max_borrow: Loan units that the collateral bears.
    """

    borrow_shares: int
    collateral: int
    borrowed: int
    max_borrow: int | None


class MorphoTruth:
    """Reads of one singleton, pinned to a block where a block can be given."""

    def __init__(self, node: Node, core: Core) -> None:
        self._node = node
        self._core = core

    def at(self, block: int | str = "latest") -> dict[Key, Standing]:
        """Return everybody who has debt or collateral, in every market ever created."""
        return self.standings(self.markets(block), block)

    def standings(
        self, seen: Mapping[str, Seen], block: int | str = "latest"
    ) -> dict[Key, Standing]:
        """Return the same where the markets at that block are known already."""
        rows = self.positions(self.holders_ever(block), block)
        return {
            key: standing(seen[key[0]], shares, collateral)
            for key, (_, shares, collateral) in rows.items()
            if shares or collateral
        }

    def health(self, block: int | str = "latest") -> dict[Key, int | None]:
        """Return everybody's health factor in WAD who has debt; None without a usable price."""
        return {key: factor_of(one) for key, one in self.at(block).items() if one.borrow_shares}

    def unhealthy(self, block: int | str = "latest") -> list[Key]:
        """Return who has debt and a health factor under 1."""
        health = self.health(block)
        return sorted(key for key, factor in health.items() if factor is not None and factor < WAD)

    def supply_shares(self, block: int | str = "latest") -> dict[Key, int]:
        """Return the shares of every lender and of every recipient of fees; zeros left out."""
        rows = self.positions(self.lenders_ever(block), block)
        return {key: shares for key, (shares, _, _) in rows.items() if shares}

    def markets(self, block: int | str = "latest") -> dict[str, Seen]:
        """Return every market, as stored and as accrued, with its oracle's answer."""
        known, lens = self.params(block), self._core.lens
        rows = [params.row for params in known.values()]
        question = lens.artifact.encode("look", self._core.morpho.address, rows, PRICE_GAS)
        looks = lens.artifact.decode("look", self._node.call(lens.address, question, block))[0]
        return {
            market: Seen(
                params, Totals(*stored), Totals(*accrued), accrues, price if answers else None
            )
            for (market, params), (stored, accrued, accrues, answers, price) in zip(
                known.items(), looks, strict=True
            )
        }

    def params(self, block: int | str = "latest") -> dict[str, Params]:
        """Return what names each market, from the CreateMarket logs, in their order."""
        found = {}
        for log in self._logs(("CreateMarket",), block):
            row: tuple[Any, ...] = decode([PARAMS], bytes_of(log["data"]))[0]
            loan, collateral, oracle, irm = (address_in(word) for word in row[:4])
            found[log["topics"][1]] = Params(loan, collateral, oracle, irm, row[4])
        return found

    def positions(
        self, keys: Sequence[Key], block: int | str = "latest"
    ) -> dict[Key, tuple[int, int, int]]:
        """Return supply shares, borrow shares and collateral as stored."""
        morpho = self._core.morpho
        calls = [
            (morpho.address, morpho.artifact.encode("position", bytes_of(market), user))
            for market, user in keys
        ]
        answers = self._node.multicall(calls, block)
        decoded = [morpho.artifact.decode("position", answer or b"") for answer in answers]
        return {key: (row[0], row[1], row[2]) for key, row in zip(keys, decoded, strict=True)}

    def holders_ever(self, block: int | str = "latest") -> list[Key]:
        """Return everybody who ever had debt or collateral."""
        borrowed = self._owners("Borrow", 2, block)
        return sorted(borrowed | self._owners("SupplyCollateral", 3, block))

    def lenders_ever(self, block: int | str = "latest") -> list[Key]:
        """Return everybody who ever supplied, and whoever may have got fees, 0 before the first."""
        logs = self._logs(("SetFeeRecipient",), block)
        recipients = {ZERO} | {address_in(log["topics"][1]) for log in logs}
        earned = {(market, user) for market in self.params(block) for user in recipients}
        return sorted(earned | self._owners("Supply", 3, block))

    def liquidatable(
        self, keys: Iterable[Key], block: int | str = "latest"
    ) -> dict[Key, tuple[bool, bool]]:
        """Return whether the real `liquidate` accepts one share, and one unit of collateral."""
        params = self.params(block)
        return {
            (market, user): (
                self._liquidates(params[market], user, (0, 1), block),
                self._liquidates(params[market], user, (1, 0), block),
            )
            for market, user in keys
        }

    def digest(self, block: int | str = "latest") -> str:
        """Return one hash over all markets and everybody in them, to compare two chains."""
        rows = sorted(self.at(block).items()), sorted(self.supply_shares(block).items())
        lines = [*sorted(self.markets(block).items()), *rows[0], *rows[1]]
        return hashlib.sha256("\n".join(map(str, lines)).encode()).hexdigest()

    def _liquidates(
        self, params: Params, user: str, how: tuple[int, int], block: int | str
    ) -> bool:
        morpho = self._core.morpho
        data = morpho.artifact.encode("liquidate", params.row, user, *how, b"")
        request = {
            "from": LIQUIDATOR,
            "to": morpho.address,
            "data": "0x" + data.hex(),
            "gas": hex(LIQUIDATION_GAS),
        }
        try:
            self._node.rpc("eth_call", request, tag(block))
        except RpcError:
            return False
        return True

    def _owners(self, event: str, place: int, block: int | str) -> set[Key]:
        logs = self._logs((event,), block)
        return {(log["topics"][1], address_in(log["topics"][place])) for log in logs}

    def _logs(self, events: Sequence[str], block: int | str) -> list[dict[str, Any]]:
        topics = [self._core.events.topic(event) for event in events]
        first, morpho = self._core.from_block, [self._core.morpho.address]
        return self._node.logs(addresses=morpho, topics=topics, first=first, last=block)


def standing(seen: Seen, borrow_shares: int, collateral: int) -> Standing:
    """Follow Morpho._isHealthy: both sides of its comparison, over the accrued market."""
    totals = seen.accrued
    assets = totals.borrow_assets + VIRTUAL_ASSETS
    borrowed = -(-borrow_shares * assets // (totals.borrow_shares + VIRTUAL_SHARES))
    usable = seen.accrues and seen.price is not None
    bears = max_borrow(collateral, seen.price or 0, seen.params.lltv) if usable else None
    return Standing(borrow_shares, collateral, borrowed, bears)


def max_borrow(collateral: int, price: int, lltv: int) -> int | None:
    """Return what collateral bears, by two floors; None where a product leaves 256 bits."""
    if collateral * price >= WORD:
        return None
    quoted = collateral * price // PRICE_SCALE
    return None if quoted * lltv >= WORD else quoted * lltv // WAD


def factor_of(one: Standing) -> int | None:
    """Return the health factor in WAD; None without debt or without a usable price."""
    if one.max_borrow is None or not one.borrowed:
        return None
    return one.max_borrow * WAD // one.borrowed


def near(health: Mapping[Key, int | None], within: int = WAD // 10_000) -> list[Key]:
    """Return those whose factor is within so much (WAD) of 1, on either side."""
    return sorted(k for k, f in health.items() if f is not None and abs(f - WAD) <= within)
