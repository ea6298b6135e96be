"""The accounts of one protocol as they were written down at a block."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import NamedTuple

from chimera.domain.market import Account, Holder


class Remembered(NamedTuple):
    """
    Everybody who was known, with what they had.

    Attributes:
        accounts: By holder.
        vacant: Who was known besides, and had no account.
    """

    accounts: dict[Holder, Account]
    vacant: AbstractSet[Holder]
