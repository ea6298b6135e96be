"""From exact integers to what is published: positions, and accounts under water."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from eth_utils.address import to_checksum_address

from chimera.domain.block import Address, Block
from chimera.domain.health import CollateralLeg, DebtLeg, Health, Pair, Verdict
from chimera.domain.market import Account, Key, Market, instance_of
from chimera.domain.numeric import Wad, decimal_string
from chimera.domain.opportunity import BestPair, Underwater
from chimera.domain.position import CollateralView, DebtView, Position
from chimera.ports import Adapter

PREFIX = "position:"
HEALTH_DECIMALS = 18
ADDRESSES_KEPT = 1 << 18  # a checksum costs a Keccak; borrowers come back at every refresh

Leg = TypeVar("Leg", CollateralLeg, DebtLeg)


@lru_cache(maxsize=ADDRESSES_KEPT)
def checksummed(address: Address) -> str:
    """Return the EIP-55 form of an address."""
    return str(to_checksum_address(address))


def name_of(protocol: str, user: str) -> str:
    """Return the cache's key of a position; `user` is the EIP-55 address."""
    return f"{PREFIX}{protocol}:{user}"


class Publishable(Protocol):
    """Something that can be put under a key of the cache."""

    @property
    def name(self) -> str:
        """The key in the cache."""

    @property
    def block(self) -> int:
        """Number of the block at which it is valued."""

    def position(self) -> Position:
        """Return what is published."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A position that somebody has valued already."""

    content: Position

    @property
    def name(self) -> str:
        """The key in the cache."""
        return name_of(self.content.protocol, self.content.user)

    @property
    def block(self) -> int:
        """Number of the block at which it is valued."""
        return self.content.block

    def position(self) -> Position:
        """Return what is published."""
        return self.content


@dataclass(frozen=True, slots=True)
class Draft:
    """
    An account, its market and its streak at one block: a position that is valued when it is read.

    All parts are immutable, so it is the same position whenever that happens.
    """

    adapter: Adapter[Any]
    protocol: str  # as published
    user: Address
    account: Account
    market: Market
    at: Block
    blocks_unhealthy: int

    @property
    def name(self) -> str:
        """The key in the cache."""
        return name_of(self.protocol, checksummed(self.user))

    @property
    def block(self) -> int:
        """Number of the block at which it is valued."""
        return self.at.number

    def position(self) -> Position:
        """Value every leg exactly and write the account as a `Position`."""
        value = self.adapter.value(self.market, self.account, self.at.timestamp)
        health, places = value.health, value.base_decimals
        collateral, debt = _largest(value.collateral), _largest(value.debt)
        return Position(
            block=self.at.number,
            protocol=self.protocol,
            user=checksummed(self.user),
            health_factor=_factor(health.factor),
            collateral_asset=checksummed(collateral.asset) if collateral else None,
            debt_asset=checksummed(debt.asset) if debt else None,
            collateral_amount=collateral.amount if collateral else 0,
            debt_amount=debt.amount if debt else 0,
            liquidation_threshold=health.threshold,
            last_update_block=self.account.updated_block,
            blocks_unhealthy=self.blocks_unhealthy,
            collateral=tuple(_collateral(leg, places) for leg in value.collateral),
            debt=tuple(_debt(leg, places) for leg in value.debt),
            base_currency=value.base_currency,
            error=health.error,
        )


def underwater(key: Key, factor: Wad, health: Health, verdict: Verdict, places: int) -> Underwater:
    """
    Describe an account whose exact health factor is under 1.

    Args:
        key: The account, as published.
        factor: Its health factor, WAD.
        health: What the contract's view answers.
        verdict: Whether anybody could liquidate it.
        places: Decimals of the protocol's base currency.
    """
    return Underwater(
        protocol=key[0],
        user=checksummed(key[1]),
        health_factor=factor,
        collateral_value=decimal_string(health.collateral, places),
        debt_value=decimal_string(health.debt, places),
        liquidatable=verdict.liquidatable,
        reason=verdict.reason,
        best=_pair(verdict.best, places),
    )


def _pair(pair: Pair | None, places: int) -> BestPair | None:
    if pair is None:
        return None
    return BestPair(
        collateral_asset=checksummed(pair.collateral_asset),
        debt_asset=checksummed(pair.debt_asset),
        max_repay=pair.max_repay,
        seize=pair.seize,
        gross_bonus=decimal_string(pair.gross_bonus, places),
    )


def _factor(factor: int | None) -> str | None:
    return None if factor is None else decimal_string(factor, HEALTH_DECIMALS)


def _largest(legs: Iterable[Leg]) -> Leg | None:
    return max(legs, key=lambda leg: leg.value, default=None)


def _collateral(leg: CollateralLeg, places: int) -> CollateralView:
    return CollateralView(
        asset=checksummed(leg.asset),
        symbol=leg.symbol,
        amount=leg.amount,
        value=decimal_string(leg.value, places),
        liquidation_threshold=leg.threshold,
        enabled=leg.enabled,
    )


def _debt(leg: DebtLeg, places: int) -> DebtView:
    return DebtView(
        asset=checksummed(leg.asset),
        symbol=leg.symbol,
        amount=leg.amount,
        value=decimal_string(leg.value, places),
    )


Adapters = Mapping[str, Adapter[Any]]
"""The followed protocols, by the name of the instance."""


def key_of(adapters: Adapters, protocol: str, user: Address) -> Key | None:
    """Return where the book keeps a published account; None for an unknown protocol."""
    name = instance_of(protocol)
    holder = adapters[name].holder(protocol, user) if name in adapters else None
    return None if holder is None else (name, holder)
