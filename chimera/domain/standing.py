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
        blocks_unhealthy: Blocks in a row under 1; None where nobody has counted.
        confirmation_blocks: How many of them flag an account.
        liquidatable: Whether the contract would allow it now; None where nobody has asked.
        reason: The contract's rule against it, if it would not.
    """

    health_factor: str | None
    error: str | None
    blocks_unhealthy: int | None
    confirmation_blocks: int
    liquidatable: bool | None = None
    reason: str | None = None

    def sentence(self) -> str:
        """Say whether it is flagged and can be liquidated, and the rule if not."""
        if self.error is not None:
            return f"not flagged: it has no health factor, the contract's view fails ({self.error})"
        if self.health_factor is None:
            return "not flagged: it has no debt, so there is nothing to liquidate"
        if self.health_factor.partition(".")[0] != "0":
            return (
                f"not flagged: its health factor {self.health_factor} is not under 1, "
                "and the contract liquidates only under 1"
            )
        return f"{self._flag()}; {self._liquidation()}"

    def _flag(self) -> str:
        if self.blocks_unhealthy is None:
            return f"under 1; flagged after {self.confirmation_blocks} blocks in a row under 1"
        counted = f"under 1 for {self.blocks_unhealthy} of {self.confirmation_blocks} blocks"
        if self.blocks_unhealthy < self.confirmation_blocks:
            return f"not flagged yet: {counted} in a row"
        return f"flagged: under 1 for {self.blocks_unhealthy} blocks in a row"

    def _liquidation(self) -> str:
        if self.liquidatable is None:
            return "whether the contract allows a liquidation is asked once it is flagged"
        if self.liquidatable:
            return "the contract lets anybody liquidate it"
        return f"nobody can liquidate it: {self.reason or 'the contract refuses'}"
