"""Where an account stands between safe, flagged and liquidated, as a sentence with its rule."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What decides about one account.

    Attributes:
        health_factor: Decimal string; None without debt, and where `error` is set.
        error: Why the contract's view reverts, or None.
        blocks_unhealthy: Blocks in a row under 1.
        confirmation_blocks: How many of them flag an account.
        contract: Whether the contract would allow a liquidation now and, if not, its rule.
    """

    health_factor: str | None
    error: str | None
    blocks_unhealthy: int
    confirmation_blocks: int
    contract: str | None = None

    def sentence(self) -> str:
        """Say whether it is flagged and can be liquidated, and the rule if not."""
        return self._flag() if self.contract is None else f"{self._flag()}; {self.contract}"

    def _flag(self) -> str:
        if self.error is not None:
            return f"not flagged: it has no health factor, the contract's view fails ({self.error})"
        if self.health_factor is None:
            return "not flagged: it has no debt"
        if self.health_factor.partition(".")[0] != "0":
            return f"not flagged: its health factor {self.health_factor} is not under 1"
        blocks, needed = self.blocks_unhealthy, self.confirmation_blocks
        if blocks < needed:
            return f"not flagged yet: under 1 for {blocks} of {needed} blocks in a row"
        return f"flagged: under 1 for {blocks} blocks in a row"
