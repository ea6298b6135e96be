"""From exact integers to what is published: positions, and accounts under water."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
from eth_utils.crypto import keccak

from chimera.domain.block import Address, Block
from chimera.domain.health import CollateralLeg, DebtLeg, Health, Pair, Verdict
from chimera.domain.market import Account, Holder, Key, Market, instance_of
from chimera.domain.numeric import Wad, decimal_string
from chimera.domain.opportunity import BestPair, Underwater
from chimera.domain.position import CollateralView, DebtView, Position
from chimera.ports import Adapter

PREFIX = "position:"
HEALTH_DECIMALS = 18
ADDRESSES_KEPT = 1 << 18  # a checksum costs a Keccak; borrowers come back at every refresh
ADDRESS_BYTES = 20

# Of ASCII hex: 0x20, what makes a letter small, for each letter; for each digit of 8 or more.
LETTERS = bytes(0x20 if digit in b"abcdef" else 0 for digit in range(256))
HIGH = bytes(0x20 if digit in b"89abcdef" else 0 for digit in range(256))

Owner = Address | str
"""Whose a published position is: an address, or a text that is none, as an operator may write."""

Leg = TypeVar("Leg", CollateralLeg, DebtLeg)
_checksums: dict[Address, str] = {}


def checksummed(address: Address) -> str:
    """Return the EIP-55 form of an address."""
    found = _checksums.get(address)
    if found is None:
        if len(_checksums) >= ADDRESSES_KEPT:
            _checksums.clear()
        found = _checksums[address] = _eip55(address)
    return found


def _eip55(address: Address) -> str:
    """Write a letter large where the digit of the hash in its place is 8 or more."""
    small = address.hex().encode()
    digits = keccak(small)[:ADDRESS_BYTES].hex().encode()
    large = int.from_bytes(small.translate(LETTERS)) & int.from_bytes(digits.translate(HIGH))
    return "0x" + (int.from_bytes(small) - large).to_bytes(2 * ADDRESS_BYTES).decode()


def name_of(protocol: str, user: str) -> str:
    """Return the cache's key of a position; `user` is the EIP-55 address."""
    return f"{PREFIX}{protocol}:{user}"


def owner_of(user: str) -> Owner:
    """Return the address that this is the EIP-55 form of; any other text as it is."""
    try:
        address = Address(bytes.fromhex(user[2:]))
    except ValueError:
        return user
    return address if len(address) == ADDRESS_BYTES and checksummed(address) == user else user


def key_in(name: str) -> tuple[str, Owner]:
    """Return published protocol and owner of a key of the cache."""
    protocol, _, user = name.removeprefix(PREFIX).rpartition(":")
    return protocol, owner_of(user)


def instance_in(name: str) -> str:
    """Return the name of the instance in a key of the cache."""
    return instance_of(name.removeprefix(PREFIX).rpartition(":")[0])


def written(owner: Owner) -> str:
    """
    Return how an owner stands in a key: an address in its EIP-55 form.

    It is for those who list everybody, so it remembers nothing that is not remembered already.
    """
    if isinstance(owner, str):
        return owner
    return _checksums.get(owner) or _eip55(owner)


class Publishable(Protocol):
    """Something that can be put under a key of the cache."""

    @property
    def name(self) -> str:
        """The key in the cache."""

    @property
    def instance(self) -> str:
        """Name of the protocol's instance."""

    @property
    def published(self) -> tuple[str, Owner]:
        """Published protocol and owner."""

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
    def instance(self) -> str:
        """Name of the protocol's instance."""
        return instance_of(self.content.protocol)

    @property
    def published(self) -> tuple[str, Owner]:
        """Published protocol and owner."""
        return self.content.protocol, owner_of(self.content.user)

    @property
    def block(self) -> int:
        """Number of the block at which it is valued."""
        return self.content.block

    def position(self) -> Position:
        """Return what is published."""
        return self.content


class Draft(msgspec.Struct, frozen=True, gc=False):
    """
    An account, its market and its streak at one block: a position that is valued when it is read.

    All parts are immutable, so it is the same position whenever that happens.
    """

    adapter: Adapter[Any]
    holder: Holder
    account: Account
    market: Market
    at: Block
    blocks_unhealthy: int

    @property
    def name(self) -> str:
        """The key in the cache."""
        protocol, user = self.published
        return name_of(protocol, checksummed(user))

    @property
    def instance(self) -> str:
        """Name of the protocol's instance."""
        return self.adapter.name

    @property
    def published(self) -> tuple[str, Address]:
        """Published protocol and owner."""
        return self.adapter.published(self.holder)

    @property
    def block(self) -> int:
        """Number of the block at which it is valued."""
        return self.at.number

    def position(self) -> Position:
        """Value every leg exactly and write the account as a `Position`."""
        value = self.adapter.value(self.market, self.account, self.at.timestamp)
        protocol, user = self.published
        health, places = value.health, value.base_decimals
        collateral, debt = largest(value.collateral), largest(value.debt)
        return Position(
            block=self.at.number,
            protocol=protocol,
            user=checksummed(user),
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


def largest(legs: Iterable[Leg]) -> Leg | None:
    """Return the leg of the largest value, the first of equal ones; None where there is none."""
    found: Leg | None = None
    for leg in legs:
        if found is None or leg.value > found.value:
            found = leg
    return found


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
