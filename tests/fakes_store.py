"""Values that a history keeps."""

from __future__ import annotations

from chimera.domain.block import Address, Block, BlockHash
from chimera.domain.opportunity import BestPair, Checkpoint, ClosedReason, Opportunity, Streak

ALICE, BOB, CAROL = (Address(bytes([n]) * 20) for n in (1, 2, 3))


def checkpoint(number: int, *, fork: int = 0, streak: int = 1) -> Checkpoint:
    block = Block(
        number=number,
        hash=BlockHash(bytes([fork]) + number.to_bytes(31, "big")),
        parent_hash=BlockHash(bytes([fork]) + (number - 1).to_bytes(31, "big")),
        timestamp=1_700_000_000 + number,
    )
    return Checkpoint(block, {("aave", ALICE): Streak(number - streak + 1, streak)})


def opportunity(
    identity: str = "0a1b",
    *,
    flagged: int = 101,
    closed: int | None = None,
    reason: ClosedReason = "recovered",
) -> Opportunity:
    return Opportunity(
        id=identity,
        protocol="aave",
        user="0x" + ALICE.hex(),
        health_factor="0.980000000000000000",
        first_unhealthy_block=flagged - 1,
        flagged_block=flagged,
        blocks_unhealthy=2,
        state="open" if closed is None else "closed",
        closed_block=closed,
        closed_reason=None if closed is None else reason,
        liquidatable=True,
        reason=None,
        collateral_value="1.5",
        debt_value="1.6",
        best=BestPair("0xaa", "0xbb", max_repay=2**200, seize=2**255, gross_bonus="0.07"),
    )
