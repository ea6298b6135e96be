"""What may happen to whole markets of Morpho in one block, and what liquidators do."""

from __future__ import annotations

from devnet.actions import BANK, near
from devnet.morpho_actions import MorphoActions
from devnet.morpho_core import Core, Listed, percent
from devnet.morpho_head import Head, One, seized_for
from devnet.morpho_population import Populator
from devnet.morpho_state import State
from devnet.node import Transaction

FEES = (0, percent(50), percent(100), percent(250))
CROWDED, MOST_RELIEF = 8, 6  # one in eight may stay under 1; so many at once are liquidated
FIRST_IN_NEW = 3  # people who come at once to a market that is new


class Others:
    """What nobody's own will decides. An empty list: it cannot happen at this head."""

    def __init__(self, core: Core, state: State, head: Head) -> None:
        self._core = core
        self._state = state
        self._head = head
        self._act = MorphoActions(core)
        self._populator = Populator(core, state.people, state.rng)

    # -- anybody, and the owner ------------------------------------------------------------------

    def accrue(self) -> list[Transaction]:
        """Accrue, as nobody in particular."""
        return [self._act.accrue(self._head.place().listed.params)]

    def accrue_twice(self) -> list[Transaction]:
        """Accrue twice in a block: the second time there is nothing to do, and no log."""
        params = self._head.place().listed.params
        return [self._act.accrue(params), self._act.accrue(params, "accrue_twice")]

    def new_market(self) -> list[Transaction]:
        """Create a market, lend into it and borrow from it, all in one block."""
        if not self._state.plans:
            return []
        plan = self._state.plans.pop(0)
        params = self._core.params(plan)
        listed = self._core.listed[params.id] = Listed(plan, params)
        places = self._head.places.values()
        like = next(one.seen for one in places if one.listed.params.oracle == params.oracle)
        amount = like.accrued.supply_assets // 3
        found = [
            self._act.create_market(params),
            self._act.supply(params, BANK, amount, kind="setup"),
        ]
        for _ in range(FIRST_IN_NEW):
            stake = self._populator.stake(listed, like.price or 0)
            user = self._state.people.newcomer()
            found += self._populator.arrive(params, user, stake, "new_market_borrow")
        return found

    def set_fee(self) -> list[Transaction]:
        """Change the fee of a market, often to or from nothing."""
        place = self._head.place()
        fee = self._state.rng.choice([fee for fee in FEES if fee != place.seen.stored.fee])
        return [self._act.set_fee(place.listed.params, fee)]

    def set_fee_recipient(self) -> list[Transaction]:
        """Give the fees to someone new, to a lender or to a borrower."""
        people = self._state.people
        choices = (people.newcomer(), *people.lenders[:3], *people.borrowers[:3])
        return [self._act.set_fee_recipient(self._state.rng.choice(choices))]

    # -- the third party -------------------------------------------------------------------------

    def liquidate_shares(self) -> list[Transaction]:
        """Take over the whole debt, where the collateral suffices."""
        for one in self._head.sample(self._head.under):
            if one.row.collateral >= seized_for(one, one.row.borrow_shares):
                shares = one.row.borrow_shares
                return [self._liquidate(one, 0, shares, "liquidate_shares")]
        return []

    def liquidate_shares_partly(self) -> list[Transaction]:
        """Take over a part of the debt."""
        for one in self._head.sample(self._head.under):
            shares = near(self._state.rng, 0.05, 0.5, one.row.borrow_shares) + 1
            return [self._liquidate(one, 0, shares, "liquidate_shares_partly")]
        return []

    def liquidate_seized_partly(self) -> list[Transaction]:
        """Ask for a part of the collateral."""
        for one in self._head.sample(self._head.under):
            amount = near(self._state.rng, 0.02, 0.4, one.row.collateral) + 1
            return [self._liquidate(one, amount, 0, "liquidate_seized_partly")]
        return []

    def liquidate_with_bad_debt(self) -> list[Transaction]:
        """Take all the collateral of someone who owes more than it is worth."""
        for one in self._head.sample(self._head.under):
            if one.row.collateral < seized_for(one, one.row.borrow_shares):
                return [self._liquidate(one, one.row.collateral, 0, "liquidate_with_bad_debt")]
        return []

    def relief(self) -> list[Transaction]:
        """Liquidate some in full where many are under 1, as competing liquidators would."""
        under = self._head.under
        many = max(0, len(under) - len(self._head.owing) // CROWDED)
        found = []
        for one in self._head.sample(under, min(many, MOST_RELIEF)):
            worthless = one.row.collateral < seized_for(one, one.row.borrow_shares)
            seized, shares = (one.row.collateral, 0) if worthless else (0, one.row.borrow_shares)
            found.append(self._liquidate(one, seized, shares, "relief"))
        return found

    def liquidate_the_healthy(self) -> list[Transaction]:
        """Try at someone who is healthy, and be refused."""
        for one in self._head.sample([one for one in self._head.owing if one.calm]):
            return [self._liquidate(one, 0, 1, "liquidate_the_healthy")]
        return []

    def _liquidate(self, one: One, seized: int, shares: int, kind: str) -> Transaction:
        return self._act.liquidate(one.place.listed.params, one.user, seized, shares, kind=kind)
