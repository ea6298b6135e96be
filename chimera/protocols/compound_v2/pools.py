"""Pools of risk beside the core pool (Venus' eModes): other terms for the markets in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from chimera.domain import abi
from chimera.domain.block import Address
from chimera.domain.call import Inquiry
from chimera.protocols.compound_v2 import calls

CORE_POOL = 0
THRESHOLD_WORD, INCENTIVE_WORD = 3, 4  # of `markets` and `poolMarkets`
TERM_WORDS = 5  # at the least


class Terms(NamedTuple):
    """By how much collateral counts, and what a liquidator may seize for a unit repaid; WAD."""

    factor: int
    incentive: int


NO_TERMS = Terms(0, 0)  # what the storage holds for a market that is not in a pool


@dataclass(frozen=True, slots=True)
class Pool:
    """
    One pool.

    Attributes:
        is_active: Else its members are treated as in the core pool.
        falls_back: Markets that are not in it have the core pool's terms; else they count nothing.
        terms: Of the markets in it, by mToken.
    """

    is_active: bool = True
    falls_back: bool = False
    terms: Mapping[Address, Terms] = field(default_factory=dict)

    def terms_of(self, mtoken: Address, core: Terms) -> Terms:
        """Return the terms of a market for members. Mirrors MarketFacet.getLiquidationParams."""
        if not self.is_active:
            return core
        own = self.terms.get(mtoken)
        if own is not None:
            return own
        return core if self.falls_back else NO_TERMS

    def including(self, mtoken: Address, terms: Terms) -> Pool:
        """Return the pool with these terms of a market."""
        return replace(self, terms={**self.terms, mtoken: terms})

    def without(self, mtoken: Address) -> Pool:
        """Return the pool without a market."""
        return replace(self, terms={m: terms for m, terms in self.terms.items() if m != mtoken})


def read(comptroller: Address) -> Inquiry[dict[int, Pool]]:
    """Read every pool but the core pool."""
    last = abi.plain(comptroller, calls.LAST_POOL_ID)
    answers = yield (last,)
    numbers = range(CORE_POOL + 1, (abi.number(answers[last]) or 0) + 1)
    if not numbers:
        return {}
    flags = {n: abi.of_number(comptroller, calls.POOLS, n) for n in numbers}
    members = {n: abi.of_number(comptroller, calls.GET_POOL_VTOKENS, n) for n in numbers}
    answers = yield (*flags.values(), *members.values())
    switches = {n: (abi.words(answers[call]) + [0] * 3)[1:3] for n, call in flags.items()}
    questions = {
        (n, mtoken): calls.of_pool_market(comptroller, calls.POOL_MARKETS, n, mtoken)
        for n, call in members.items()
        for mtoken in abi.addresses(answers[call])
    }
    answers = (yield tuple(questions.values())) if questions else {}
    found = {n: Pool(bool(active), bool(falls)) for n, (active, falls) in switches.items()}
    for (n, mtoken), call in questions.items():
        words = abi.words(answers[call]) + [0] * TERM_WORDS
        terms = Terms(words[THRESHOLD_WORD], words[INCENTIVE_WORD])
        found[n] = found[n].including(mtoken, terms)
    return found
