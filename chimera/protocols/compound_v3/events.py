"""The logs that move a mirror of a Comet: topics as the chain has them, words by place."""

from __future__ import annotations

from collections.abc import Sequence

from chimera.domain import abi
from chimera.domain.block import Log

SUPPLY = bytes.fromhex("d1cf3d156d5f8f0d50f6c122ed609cec09d35c9b9fb3fff6ea0959134dae424e")
WITHDRAW = bytes.fromhex("9b1bfa7fa9ee420a16e124f794c35ac9f90472acc99140eb2f6447c714cad8eb")
TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
SUPPLY_COLLATERAL = bytes.fromhex(
    "fa56f7b24f17183d81894d3ac2ee654e3c26388d17a28dbd9549b8114304e1f4"
)
TRANSFER_COLLATERAL = bytes.fromhex(
    "29db89d45e1a802b4d55e202984fce9faf1d30aedf86503ff1ea0ed9ebb64201"
)
WITHDRAW_COLLATERAL = bytes.fromhex(
    "d6d480d5b3068db003533b170d67561494d72e3bf9fa40a266471351ebba9e16"
)
ABSORB_COLLATERAL = bytes.fromhex(
    "9850ab1af75177e4a9201c65a2cf7976d5d28e40ef63494b44366f86b2f9412e"
)
ABSORB_DEBT = bytes.fromhex("1547a878dc89ad3c367b6338b4be6a65a5dd74fb77ae044da1e8747ef1f4f62f")
UPGRADED = bytes.fromhex("bc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b")

# (topics, words of data at the least), as the ABIs have them
SHAPES: dict[bytes, tuple[int, int]] = {
    SUPPLY: (3, 1),
    WITHDRAW: (3, 1),
    TRANSFER: (3, 1),
    SUPPLY_COLLATERAL: (4, 1),
    TRANSFER_COLLATERAL: (4, 1),
    WITHDRAW_COLLATERAL: (4, 1),
    ABSORB_COLLATERAL: (4, 2),
    ABSORB_DEBT: (3, 2),
    UPGRADED: (2, 0),
}

BASE_SIDE = frozenset({SUPPLY, WITHDRAW, TRANSFER, ABSORB_DEBT})
"""Logs of actions that accrue interest first."""


def check(logs: Sequence[Log]) -> None:
    """
    Refuse logs that are cut short.

    A block has many logs of few kinds, so kinds are looked at, and a log only to name it.

    Raises:
        Rebuild: One of them does not decode, so what it says has to be read from the contract.
    """
    kinds = {(log.topics[0], len(log.topics), len(log.data)) for log in logs}
    if any(_is_short(*kind) for kind in kinds):
        for log in logs:
            if (shape := SHAPES.get(log.topics[0])) is not None:
                abi.check_size(log, *shape)


def _is_short(topic: bytes, topics: int, size: int) -> bool:
    wanted, words = SHAPES.get(topic, (topics, 0))
    return topics != wanted or size < words * abi.WORD


def amount_of(log: Log) -> int:
    """Return the first word of the data."""
    return abi.uint_at(log.data, 0)
