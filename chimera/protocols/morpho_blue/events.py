"""The logs that move a mirror of the singleton: topics as the chain has them, words by place."""

from __future__ import annotations

from typing import NamedTuple

from chimera.domain import abi
from chimera.domain.block import Log
from chimera.domain.market import Holder
from chimera.protocols.morpho_blue import calls
from chimera.protocols.morpho_blue.market import Id, Terms, holder_of

# Morpho; its events stand in a library, so that its own ABI may lack them
CREATE_MARKET = bytes.fromhex("ac4b2400f169220b0c0afdde7a0b32e775ba727ea1cb30b35f935cdaab8683ac")
SUPPLY = bytes.fromhex("edf8870433c83823eb071d3df1caa8d008f12f6440918c20d75a3602cda30fe0")
WITHDRAW = bytes.fromhex("a56fc0ad5702ec05ce63666221f796fb62437c32db1aa1aa075fc6484cf58fbf")
BORROW = bytes.fromhex("570954540bed6b1304a87dfe815a5eda4a648f7097a16240dcd85c9b5fd42a43")
REPAY = bytes.fromhex("52acb05cebbd3cd39715469f22afbf5a17496295ef3bc9bb5944056c63ccaa09")
SUPPLY_COLLATERAL = bytes.fromhex(
    "a3b9472a1399e17e123f3c2e6586c23e504184d504de59cdaa2b375e880c6184"
)
WITHDRAW_COLLATERAL = bytes.fromhex(
    "e80ebd7cc9223d7382aab2e0d1d6155c65651f83d53c8b9b06901d167e321142"
)
LIQUIDATE = bytes.fromhex("a4946ede45d0c6f06a0f5ce92c9ad3b4751452d2fe0e25010783bcab57a67e41")
ACCRUE_INTEREST = bytes.fromhex("9d9bd501d0657d7dfe415f779a620a62b78bc508ddc0891fbbd8b7ac0f8fce87")
SET_FEE = bytes.fromhex("139d6f58e9a127229667c8e3b36e88890a66cfc8ab1024ddc513e189e125b75b")
SET_FEE_RECIPIENT = bytes.fromhex(
    "2e979f80fe4d43055c584cf4a8467c55875ea36728fc37176c05acd784eb7a73"
)
SET_AUTHORIZATION = bytes.fromhex(
    "d5e969f01efe921d3f766bdebad25f0a05e3f237311f56482bf132d0326309c0"
)

# AdaptiveCurveIrm
BORROW_RATE_UPDATE = bytes.fromhex(
    "7120161a7b3d31251e01294ab351ef15a41b91659a36032e4641bb89b121e321"
)

# In which topic each log names the owner of the position; caller and receiver own nothing.
OWNERS = {
    SUPPLY: 3,
    WITHDRAW: 2,
    BORROW: 2,
    REPAY: 3,
    SUPPLY_COLLATERAL: 3,
    WITHDRAW_COLLATERAL: 2,
    LIQUIDATE: 3,
}
ARRIVALS = frozenset({SUPPLY, BORROW, SUPPLY_COLLATERAL})  # these can be somebody's first


def market_in(log: Log) -> Id:
    """Return the id of the market that a log is about; SetFeeRecipient has none."""
    return Id(log.topics[1])


def owner_in(log: Log) -> Holder:
    """Return whose position a log moves."""
    return holder_of(market_in(log), abi.address_of(log.topics[OWNERS[log.topics[0]]]))


def assets_and_shares(log: Log) -> tuple[int, int]:
    """
    Return the amounts of Supply, Withdraw, Borrow or Repay.

    Where the caller is not indexed, it is the first word of the data.
    """
    first = 1 if log.topics[0] in {WITHDRAW, BORROW} else 0
    return abi.uint_at(log.data, first), abi.uint_at(log.data, first + 1)


def collateral(log: Log) -> int:
    """Return the amount of SupplyCollateral or WithdrawCollateral."""
    return abi.uint_at(log.data, 1 if log.topics[0] == WITHDRAW_COLLATERAL else 0)


class Liquidation(NamedTuple):
    """The words of `Liquidate`."""

    repaid_assets: int
    repaid_shares: int
    seized: int
    bad_assets: int
    bad_shares: int


def liquidation(log: Log) -> Liquidation:
    """Return the amounts of Liquidate."""
    return Liquidation(*(abi.uint_at(log.data, place) for place in range(5)))


def interest_and_fee(log: Log) -> tuple[int, int]:
    """Return interest (assets) and fee (shares) of AccrueInterest."""
    return abi.uint_at(log.data, 1), abi.uint_at(log.data, 2)


def terms_in(log: Log) -> Terms:
    """Return the terms in a CreateMarket."""
    return calls.terms([abi.uint_at(log.data, place) for place in range(5)])


def new_rate(log: Log) -> int:
    """Return the rate at target that BorrowRateUpdate leaves, at the end of the period."""
    return abi.uint_at(log.data, 1)
