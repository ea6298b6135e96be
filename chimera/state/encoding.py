"""Positions as the JSON that stands in Redis: thousands at a time, so without detours."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import msgspec

from chimera.domain.block import Address
from chimera.domain.health import CollateralLeg, DebtLeg
from chimera.domain.numeric import decimal_string
from chimera.domain.position import VERSION
from chimera.state.valuation import (
    HEALTH_DECIMALS,
    Draft,
    Publishable,
    checksummed,
    largest,
    name_of,
)

REMEMBERED = 1 << 14  # texts; a market has some dozens
NULL = "null"

_encoder = msgspec.json.Encoder()


def encoded(content: Publishable) -> tuple[str, bytes]:
    """Return the key, and `content.position()` as JSON, its fields in the order of `Position`."""
    if not isinstance(content, Draft):
        return content.name, _encoder.encode(content.position())
    protocol, owner = content.adapter.published(content.holder)
    user = checksummed(owner)
    return name_of(protocol, user), _written(content, protocol, user).encode()


def _written(draft: Draft, protocol: str, user: str) -> str:
    """Write a draft as `Draft.position` has it. Addresses and decimals need no escapes."""
    value = draft.adapter.value(draft.market, draft.account, draft.at.timestamp)
    health, places = value.health, value.base_decimals
    collateral, debt = largest(value.collateral), largest(value.debt)
    return (
        f'{{"block":{draft.at.number},"protocol":{_quoted(protocol)},"user":"{user}",'
        f'"health_factor":{_factor(health.factor)},'
        f'"collateral_asset":{_asset(collateral)},"debt_asset":{_asset(debt)},'
        f'"collateral_amount":{collateral.amount if collateral else 0},'
        f'"debt_amount":{debt.amount if debt else 0},'
        f'"liquidation_threshold":"{health.threshold}",'
        f'"last_update_block":{draft.account[1]},"blocks_unhealthy":{draft.blocks_unhealthy},'
        f'"collateral":[{_supplied(value.collateral, places)}],'
        f'"debt":[{_owed(value.debt, places)}],"base_currency":{_quoted(value.base_currency)},'
        f'"error":{NULL if health.error is None else _quoted(health.error)},"version":{VERSION}}}'
    )


def _factor(factor: int | None) -> str:
    return NULL if factor is None else f'"{decimal_string(factor, HEALTH_DECIMALS)}"'


def _asset(leg: CollateralLeg | DebtLeg | None) -> str:
    return NULL if leg is None else f'"{checksummed(leg.asset)}"'


def _supplied(legs: Iterable[CollateralLeg], places: int) -> str:
    return ",".join(
        [
            f"{_beginning(leg.asset, leg.symbol)}{leg.amount},"
            f'"value":"{decimal_string(leg.value, places)}",'
            f'"liquidation_threshold":"{leg.threshold}",'
            f'"enabled":{"true" if leg.enabled else "false"}}}'
            for leg in legs
        ]
    )


def _owed(legs: Iterable[DebtLeg], places: int) -> str:
    return ",".join(
        [
            f"{_beginning(leg.asset, leg.symbol)}{leg.amount},"
            f'"value":"{decimal_string(leg.value, places)}"}}'
            for leg in legs
        ]
    )


@lru_cache(maxsize=REMEMBERED)
def _beginning(asset: Address, symbol: str) -> str:
    return f'{{"asset":"{checksummed(asset)}","symbol":{_quoted(symbol)},"amount":'


@lru_cache(maxsize=REMEMBERED)
def _quoted(text: str) -> str:
    """Return a text as JSON has it. Symbols are whatever somebody has called a token."""
    return _encoder.encode(text).decode()
