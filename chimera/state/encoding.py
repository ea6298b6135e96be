"""Positions as the JSON that stands in Redis: thousands at a time, so without detours."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from chimera.domain.block import Address
from chimera.domain.health import CollateralLeg, DebtLeg
from chimera.domain.numeric import decimal_string
from chimera.domain.position import VERSION
from chimera.state.valuation import HEALTH_DECIMALS, Draft, Publishable, checksummed, largest

REMEMBERED = 1 << 14  # texts; a market has some dozens
NULL = "null"

_encoder = msgspec.json.Encoder()


def encoded(content: Publishable) -> bytes:
    """Return `content.position()` as JSON, its fields in the order of `Position`."""
    if isinstance(content, Draft):
        return _written(content).encode()
    return _encoder.encode(content.position())


def _written(draft: Draft) -> str:
    """Write a draft as `Draft.position` has it. Addresses and decimals need no escapes."""
    value = draft.adapter.value(draft.market, draft.account, draft.at.timestamp)
    protocol, user = draft.adapter.published(draft.holder)
    health, places = value.health, value.base_decimals
    collateral, debt = largest(value.collateral), largest(value.debt)
    supplied = ",".join([_collateral(leg, places) for leg in value.collateral])
    owed = ",".join([_debt(leg, places) for leg in value.debt])
    return (
        f'{{"block":{draft.at.number},"protocol":{_quoted(protocol)},"user":"{checksummed(user)}",'
        f'"health_factor":{_factor(health.factor)},'
        f'"collateral_asset":{_asset(collateral)},"debt_asset":{_asset(debt)},'
        f'"collateral_amount":{collateral.amount if collateral else 0},'
        f'"debt_amount":{debt.amount if debt else 0},'
        f'"liquidation_threshold":"{health.threshold}",'
        f'"last_update_block":{draft.account[1]},"blocks_unhealthy":{draft.blocks_unhealthy},'
        f'"collateral":[{supplied}],"debt":[{owed}],"base_currency":{_quoted(value.base_currency)},'
        f'"error":{NULL if health.error is None else _quoted(health.error)},"version":{VERSION}}}'
    )


def _factor(factor: int | None) -> str:
    return NULL if factor is None else f'"{decimal_string(factor, HEALTH_DECIMALS)}"'


def _asset(leg: CollateralLeg | DebtLeg | None) -> str:
    return NULL if leg is None else f'"{checksummed(leg.asset)}"'


def _collateral(leg: CollateralLeg, places: int) -> str:
    return (
        f"{_beginning(leg.asset, leg.symbol)}{leg.amount},"
        f'"value":"{decimal_string(leg.value, places)}","liquidation_threshold":"{leg.threshold}",'
        f'"enabled":{"true" if leg.enabled else "false"}}}'
    )


def _debt(leg: DebtLeg, places: int) -> str:
    return (
        f"{_beginning(leg.asset, leg.symbol)}{leg.amount},"
        f'"value":"{decimal_string(leg.value, places)}"}}'
    )


@lru_cache(maxsize=REMEMBERED)
def _beginning(asset: Address, symbol: str) -> str:
    return f'{{"asset":"{checksummed(asset)}","symbol":{_quoted(symbol)},"amount":'


@lru_cache(maxsize=REMEMBERED)
def _quoted(text: str) -> str:
    """Return a text as JSON has it. Symbols are whatever somebody has called a token."""
    return _encoder.encode(text).decode()
