"""Where an account stands between safe, flagged and liquidated, as a sentence with its rule."""

from __future__ import annotations

from dataclasses import dataclass

RULES = (
    ("healthy", "the contract wants it under 1"),
    ("no collateral", "there is nothing to seize"),
    ("price", "no price, no health factor: the contract's view reverts"),
    ("rate unknown", "the market's interest model is none that is known, and does not answer"),
    ("cannot be valued", "the contract's view of the account fails in that market"),
    ("inactive", "the contract takes only active reserves"),
    ("paused", "until the reserve is unpaused"),
    ("sentinel", "the sequencer's sentinel lets only accounts under 0.95 through"),
    ("grace", "the reserve's grace period has to pass first"),
    ("overflow", "the contract's own figures overflow: the call reverts"),
    ("too little", "the tokens refuse to move amounts that scale to 0"),
    ("dust", "a liquidation may not leave so little behind"),
    ("unverified", "accounts of this market differed from the contract's view; it is read anew"),
)
"""What adapters name as the reason against a liquidation, and the contract's rule behind it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What decides about one account.

    Attributes:
        health_factor: Decimal string; None without debt, and where `error` is set.
        error: Why the contract's view reverts, or None.
        blocks_unhealthy: Blocks in a row under 1; None where nobody has counted them.
        confirmation_blocks: How many of them flag an account.
        contract: Whether the contract would allow a liquidation now and, if not, its rule.
    """

    health_factor: str | None
    error: str | None
    blocks_unhealthy: int | None
    confirmation_blocks: int
    contract: str | None = None

    def sentence(self) -> str:
        """Say whether it is flagged and can be liquidated, and the rule if not."""
        if self.contract is None:
            return self._flag()
        rule = next((rule for word, rule in RULES if word in self._reason()), None)
        held = "" if rule is None else f" ({rule})"
        return f"{self._flag()}; {self.contract}{held}"

    def _reason(self) -> str:
        return (self.contract or "").partition("not liquidatable:")[2]

    def _flag(self) -> str:
        if self.error is not None:
            return f"not flagged: it has no health factor, the contract's view fails ({self.error})"
        if self.health_factor is None:
            return "not flagged: it has no debt"
        if self.health_factor.partition(".")[0] != "0":
            return f"not flagged: its health factor {self.health_factor} is not under 1"
        blocks, needed = self.blocks_unhealthy, self.confirmation_blocks
        if blocks is None:
            return (
                f"under 1; flagged once it is for {needed} blocks in a row, which a daemon counts"
            )
        if blocks < needed:
            return f"not flagged yet: under 1 for {blocks} of {needed} blocks in a row"
        return f"flagged: under 1 for {blocks} blocks in a row"
