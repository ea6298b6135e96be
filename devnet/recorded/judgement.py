"""What a family says about one block of a recording: figures side by side, and who is under 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address

from chimera.domain.block import Address, Block
from chimera.domain.market import Account, Holder, Key, Market
from chimera.ports import Adapter

Figures = Mapping[str, int | str | None]
"""Name -> figure; just `reverts` where the contract's view reverts."""

Truth = Mapping[Address, Mapping[str, Any] | None]
"""What the contracts said of every account of the recording at one block."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """
    One block.

    Attributes:
        comparisons: What is compared, our figures, and the contract's.
        under: Published accounts whose health factor is under 1 by what the contracts said.
        keys: All published accounts that are judged.
    """

    comparisons: list[tuple[str, Figures, Figures]]
    under: frozenset[Key]
    keys: frozenset[Key]


Judge = Callable[[Adapter[Any], Market, Mapping[Holder, Account], Block, Truth], Judgement]


def named(user: Address) -> str:
    """Return the EIP-55 form of an address."""
    return str(to_checksum_address(user))
