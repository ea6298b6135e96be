"""Which accounts must be flagged, worked out from on-chain truth alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

WAD = 10**18


@dataclass(frozen=True, slots=True, order=True)
class Episode:
    """An account under 1 for long enough; `closed_block` is None while it lasts."""

    user: str
    first_unhealthy_block: int
    flagged_block: int
    closed_block: int | None


class Rule:
    """
    The rule of detection in its plainest form: a scan over what the contract said at every block.

    Args:
        confirmation_blocks: Blocks in a row under 1 that flag an account.
    """

    def __init__(self, confirmation_blocks: int = 2) -> None:
        self._confirmation_blocks = confirmation_blocks
        self._under: list[tuple[int, frozenset[str]]] = []

    def see(self, block: int, factors: Mapping[str, int | None]) -> None:
        """Note the contract's health factor (WAD; None where its view reverts) of every account."""
        under = (user for user, factor in factors.items() if factor is not None and factor < WAD)
        self._under.append((block, frozenset(under)))

    def forget_above(self, block: int) -> None:
        """Drop the blocks that a reorg took away."""
        self._under = [seen for seen in self._under if seen[0] <= block]

    def under_once(self) -> set[str]:
        """Return the accounts that were under 1 at some block, but were never flagged."""
        ever = {user for _, under in self._under for user in under}
        return ever - {episode.user for episode in self.episodes()}

    def episodes(self) -> set[Episode]:
        """Return every episode of the chain as it stands."""
        found: set[Episode] = set()
        running: dict[str, int] = {}  # user -> first block of the streak
        length: dict[str, int] = {}
        flagged: dict[str, int] = {}
        for block, under in self._under:
            for user in set(running) - under:
                first = running.pop(user)
                length.pop(user)
                if user in flagged:
                    found.add(Episode(user, first, flagged.pop(user), block))
            for user in under:
                running.setdefault(user, block)
                length[user] = length.get(user, 0) + 1
                if length[user] == self._confirmation_blocks:
                    flagged[user] = block
        found |= {Episode(user, running[user], at, None) for user, at in flagged.items()}
        return found


def episodes_of(opportunities: Iterable[Mapping[str, Any]]) -> set[Episode]:
    """Read the daemon's answer in the same terms; what a reorg closed is not of this chain."""
    return {
        Episode(o["user"], o["first_unhealthy_block"], o["flagged_block"], o["closed_block"])
        for o in opportunities
        if o["closed_reason"] != "reorged"
    }
