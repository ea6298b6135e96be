"""One account under 1 from the block that flags it to the block that ends it, and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from chimera.domain.block import Block
from chimera.domain.market import Key
from chimera.domain.numeric import Wad, decimal_string
from chimera.domain.opportunity import ClosedReason, Opportunity, Underwater


@dataclass(frozen=True, slots=True)
class Episode:
    """
    What is known of an episode without any figure.

    Attributes:
        id: A digest, the same for whoever processes the same blocks.
        first_block: The first under 1.
        flagged_block: That confirmed it.
        counted: Blocks under 1 as stored, for as long as no streak is known.
    """

    id: str
    first_block: int
    flagged_block: int
    counted: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    An episode as a block has left it: open, or closed.

    Its figures are reckoned when somebody asks, and come out the same whenever that is: a block
    that flags hundreds of accounts is decided long before the last of them is reckoned.

    Attributes:
        key: Whose it is.
        episode: Which.
        values: Of the block whose figures it has, by key.
        blocks_unhealthy: How many of them in a row.
        end: The block that closed it and why, None for an open one.
    """

    key: Key
    episode: Episode
    values: Mapping[Key, Underwater]
    blocks_unhealthy: int
    end: tuple[Block, ClosedReason] | None = None

    def reckon(self) -> Opportunity:
        """Return it with all its figures."""
        value = self.values[self.key]
        opened = Opportunity(
            id=self.episode.id,
            protocol=value.protocol,
            user=value.user,
            health_factor=decimal_string(value.health_factor, 18),
            first_unhealthy_block=self.episode.first_block,
            flagged_block=self.episode.flagged_block,
            blocks_unhealthy=self.blocks_unhealthy,
            state="open",
            closed_block=None,
            closed_reason=None,
            liquidatable=value.liquidatable,
            reason=value.reason,
            collateral_value=value.collateral_value,
            debt_value=value.debt_value,
            best=value.best,
        )
        return opened if self.end is None else ended(opened, *self.end)

    @property
    def id(self) -> str:
        """Name the episode."""
        return self.episode.id

    @property
    def protocol(self) -> str:
        """Name the published protocol."""
        return self.key[0]

    @property
    def flagged_block(self) -> int:
        """Return the number of the block that flagged it."""
        return self.episode.flagged_block

    @property
    def state(self) -> Literal["open", "closed"]:
        """Tell whether it goes on."""
        return "open" if self.end is None else "closed"


def reckoned(known: Outcome | Opportunity) -> Opportunity:
    """Return an episode with all its figures."""
    return known.reckon() if isinstance(known, Outcome) else known


def ended(opportunity: Opportunity, block: Block, reason: ClosedReason) -> Opportunity:
    """Return an episode as this block closes it."""
    return replace(opportunity, state="closed", closed_block=block.number, closed_reason=reason)


def underwater(stored: Opportunity) -> Underwater:
    """Return the figures that a stored episode has."""
    return Underwater(
        protocol=stored.protocol,
        user=stored.user,
        health_factor=Wad(int(stored.health_factor.replace(".", ""))),
        collateral_value=stored.collateral_value,
        debt_value=stored.debt_value,
        liquidatable=stored.liquidatable,
        reason=stored.reason,
        best=stored.best,
    )
