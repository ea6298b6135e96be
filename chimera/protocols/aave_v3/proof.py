"""The pool's own view of an account, and where ours differs from it."""

from __future__ import annotations

from chimera.domain import abi
from chimera.domain.block import Address
from chimera.domain.call import Answer, Call
from chimera.domain.health import Difference, Health
from chimera.domain.numeric import MAX_UINT256, short_decimal
from chimera.protocols.aave_v3 import calls
from chimera.protocols.aave_v3.valuation import BPS_PLACES

FIELDS = ("total collateral", "total debt", "available borrows", "threshold", "ltv", "factor")


def view(pool: Address, user: Address) -> Call:
    """Return the call of `getUserAccountData`."""
    return abi.of_address(pool, calls.GET_USER_ACCOUNT_DATA, user)


def differences(health: Health, answer: Answer) -> tuple[Difference, ...]:
    """Compare totals, threshold and health factor with the pool's; or that the view reverts."""
    found = abi.words(answer)
    if len(found) < len(FIELDS) or health.error is not None:
        whole = len(found) >= len(FIELDS)
        theirs = "answers" if whole else "answers too little" if found else "reverts"
        ours = health.error or "answers"
        return () if health.error and not found else (Difference("view", ours, theirs),)
    theirs_of = dict(zip(FIELDS, found, strict=False))
    pairs = {
        "total collateral": (health.collateral, theirs_of["total collateral"]),
        "total debt": (health.debt, theirs_of["total debt"]),
        "threshold": (health.threshold, short_decimal(theirs_of["threshold"], BPS_PLACES)),
        "factor": (
            MAX_UINT256 if health.factor is None else health.factor,
            theirs_of["factor"],
        ),
    }
    return tuple(
        Difference(name, str(ours), str(theirs))
        for name, (ours, theirs) in pairs.items()
        if ours != theirs
    )
