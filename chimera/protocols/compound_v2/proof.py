"""The comptroller's own view of an account, and where ours differs from it."""

from __future__ import annotations

from chimera.domain import abi
from chimera.domain.block import Address
from chimera.domain.call import Answer, Call
from chimera.domain.health import Difference
from chimera.protocols.compound_v2 import calls
from chimera.protocols.compound_v2.valuation import Liquidity

WORDS = 3  # error, liquidity, shortfall


def view(comptroller: Address, user: Address) -> Call:
    """Return the call of `getAccountLiquidity`."""
    return abi.of_address(comptroller, calls.GET_ACCOUNT_LIQUIDITY, user)


def differences(told: Liquidity, answer: Answer) -> tuple[Difference, ...]:
    """Compare liquidity and shortfall with the comptroller's; or that it cannot tell either."""
    found = abi.words(answer)
    theirs = "reverts" if len(found) < WORDS else f"answers error {found[0]}" * bool(found[0])
    if told.error is not None or theirs:
        if told.error is not None and theirs:
            return ()
        return (Difference("view", told.error or "answers", theirs or "answers"),)
    liquidity = max(0, told.collateral - told.debt)
    pairs = {"liquidity": (liquidity, found[1]), "shortfall": (told.shortfall, found[2])}
    return tuple(
        Difference(name, str(ours), str(other))
        for name, (ours, other) in pairs.items()
        if ours != other
    )
