"""What lenders and borrowers of Morpho may do in one block, as transactions ready to send."""

from __future__ import annotations

from devnet.actions import near
from devnet.morpho_actions import MorphoActions
from devnet.morpho_core import COINS, Core
from devnet.morpho_head import Head, One, Place, to_assets, to_shares
from devnet.morpho_population import USD, Populator, Stake
from devnet.morpho_state import State
from devnet.node import Transaction

COVERED = 102  # percent of the debt that stays covered when collateral is taken out


class Happenings:
    """Finds people to whom a thing can happen. An empty list: to nobody at this head."""

    def __init__(self, core: Core, state: State, head: Head) -> None:
        self._core = core
        self._state = state
        self._head = head
        self._act = MorphoActions(core)
        self._populator = Populator(core, state.people, state.rng)

    # -- lenders ---------------------------------------------------------------------------------

    def supply_assets(self) -> list[Transaction]:
        """Lend out of one's own pocket, as one more lender or as a borrower."""
        people, listed = self._state.people, self._head.place().listed
        user = self._state.rng.choice([*people.lenders, *people.borrowers])
        coin = COINS[listed.plan.loan]
        amount = self._state.rng.randint(200, 5_000) * USD * 10**coin.decimals // coin.price
        params, kind = listed.params, "supply_assets"
        mint = self._act.mint(params.loan, user, amount)
        return [mint, self._act.supply(params, user, amount, kind=kind, payer=user)]

    def supply_shares(self) -> list[Transaction]:
        """Somebody else lends for a lender, in shares."""
        place = self._head.place()
        user = self._state.rng.choice(self._state.people.lenders)
        shares = near(self._state.rng, 0.0001, 0.002, place.seen.accrued.supply_shares) + 1
        kind = "supply_shares"
        return [self._act.supply(place.listed.params, user, shares=shares, kind=kind)]

    def withdraw_assets(self) -> list[Transaction]:
        """Take back a part."""
        for (market, user), shares in self._head.sample(self._head.lent):
            place, kind = self._head.places[market], "withdraw_assets"
            if assets := to_assets(place.seen, near(self._state.rng, 0.05, 0.6, shares)):
                return [self._act.withdraw(place.listed.params, user, assets, kind=kind)]
        return []

    def withdraw_shares(self) -> list[Transaction]:
        """Take back all, in shares: lenders as well as those to whom fees have come."""
        for (market, user), shares in self._head.sample(self._head.lent):
            params, kind = self._head.places[market].listed.params, "withdraw_shares"
            return [self._act.withdraw(params, user, shares=shares, kind=kind)]
        return []

    def authorised_withdraw(self) -> list[Transaction]:
        """Someone who is authorised takes back what another has lent."""
        for (market, user), shares in self._head.sample(self._head.lent):
            friend, kind = self._befriend(user), "authorised_withdraw"
            part = near(self._state.rng, 0.1, 0.5, shares)
            params = self._head.places[market].listed.params
            allowed = self._act.authorise(user, friend, allowed=True, kind="authorise")
            taken = self._act.withdraw(params, user, shares=part, kind=kind, caller=friend)
            return [allowed, taken]
        return []

    # -- borrowers -------------------------------------------------------------------------------

    def collateral_in(self) -> list[Transaction]:
        """Add collateral out of one's own pocket."""
        for one in self._head.sample(self._head.everyone):
            amount = near(self._state.rng, 0.01, 0.2, one.row.collateral) + 1
            params, user = one.place.listed.params, one.user
            mint = self._act.mint(params.collateral, user, amount)
            kind = "collateral_in"
            return [mint, self._act.supply_collateral(params, user, amount, kind=kind, payer=user)]
        return []

    def collateral_in_for_another(self) -> list[Transaction]:
        """Somebody else rescues an account, or one that is near the limit."""
        rescued = [one for one in self._head.everyone if not one.calm]
        for one in self._head.sample(rescued):
            amount = near(self._state.rng, 0.02, 0.3, one.row.collateral) + 1
            kind = "collateral_in_for_another"
            return [
                self._act.supply_collateral(one.place.listed.params, one.user, amount, kind=kind)
            ]
        return []

    def collateral_out(self) -> list[Transaction]:
        """Take collateral out, as far as the debt allows."""
        return self._out("collateral_out", by_a_friend=False)

    def authorised_collateral_out(self) -> list[Transaction]:
        """Someone who is authorised takes the collateral."""
        return self._out("authorised_collateral_out", by_a_friend=True)

    def deposit(self) -> list[Transaction]:
        """Someone new puts collateral in and does not borrow yet."""
        place, user = self._head.open_place(), self._state.people.newcomer()
        amount, kind = self._stake(place).collateral, "deposit"
        return [self._act.supply_collateral(place.listed.params, user, amount, kind=kind)]

    def first_borrow(self) -> list[Transaction]:
        """Someone borrows who has only ever had collateral there."""
        fresh = [one for one in self._head.everyone if not one.row.borrow_shares and one.room]
        for one in self._head.sample(fresh):
            amount = near(self._state.rng, 0.2, 0.99, one.room) + 1
            kind = "first_borrow"
            return [self._act.borrow(one.place.listed.params, one.user, amount, kind=kind)]
        return []

    def borrow_assets(self) -> list[Transaction]:
        """Draw more debt, sometimes all that there is room for."""
        for one in self._head.roomy():
            amount = (
                self._state.rng.choice((near(self._state.rng, 0.1, 0.9, one.room), one.room - 1))
                + 1
            )
            kind = "borrow_assets"
            return [self._act.borrow(one.place.listed.params, one.user, amount, kind=kind)]
        return []

    def borrow_shares(self) -> list[Transaction]:
        """Draw more debt, in shares."""
        for one in self._head.roomy():
            shares = to_shares(one.place.seen, near(self._state.rng, 0.1, 0.8, one.room)) + 1
            kind = "borrow_shares"
            return [self._act.borrow(one.place.listed.params, one.user, shares=shares, kind=kind)]
        return []

    def authorised_borrow(self) -> list[Transaction]:
        """Someone who is authorised takes the money, the other owes."""
        for one in self._head.roomy():
            friend, kind = self._befriend(one.user), "authorised_borrow"
            amount = near(self._state.rng, 0.1, 0.7, one.room) + 1
            allowed = self._act.authorise(one.user, friend, allowed=True, kind="authorise")
            params = one.place.listed.params
            taken = self._act.borrow(params, one.user, amount, kind=kind, caller=friend)
            return [allowed, taken]
        return []

    def revoke(self) -> list[Transaction]:
        """End what was authorised, and see the other refused."""
        if not self._state.friends:
            return []
        user, friend = self._state.friends.pop(0)
        return [self._act.authorise(user, friend, allowed=False, kind="revoke")]

    def repay_assets(self) -> list[Transaction]:
        """Pay a part back out of one's own pocket."""
        for one in self._head.sample(self._head.owing):
            amount = near(self._state.rng, 0.05, 0.6, one.row.borrowed) + 1
            params, user = one.place.listed.params, one.user
            mint = self._act.mint(params.loan, user, amount)
            return [mint, self._act.repay(params, user, amount, kind="repay_assets", payer=user)]
        return []

    def repay_shares(self) -> list[Transaction]:
        """Somebody else pays a part back, in shares."""
        for one in self._head.sample(self._head.owing):
            shares = near(self._state.rng, 0.05, 0.6, one.row.borrow_shares) + 1
            kind = "repay_shares"
            return [self._act.repay(one.place.listed.params, one.user, shares=shares, kind=kind)]
        return []

    def close(self) -> list[Transaction]:
        """Repay everything and leave with the collateral."""
        for one in self._head.sample(self._head.owing):
            params, user, row = one.place.listed.params, one.user, one.row
            self._state.closed.append(one.key)
            paid = self._act.repay(params, user, shares=row.borrow_shares, kind="close")
            if not row.collateral:
                return [paid]
            return [paid, self._act.withdraw_collateral(params, user, row.collateral, kind="close")]
        return []

    def reopen(self) -> list[Transaction]:
        """Someone who had left the market comes back."""
        if not self._state.closed:
            return []
        market, user = self._state.closed.pop(0)
        place = self._head.places.get(market)
        if place is None:  # a reorg took the market away
            return []
        return self._populator.arrive(place.listed.params, user, self._stake(place), "reopen")

    def newcomer(self) -> list[Transaction]:
        """Someone nobody has seen before borrows."""
        place, user = self._head.open_place(), self._state.people.newcomer()
        self._state.people.borrowers.append(user)
        return self._populator.arrive(place.listed.params, user, self._stake(place), "newcomer")

    def dust(self) -> list[Transaction]:
        """Someone new owes next to nothing: a few shares, worth a unit or less."""
        place, user = self._head.open_place(), self._state.people.newcomer()
        params, kind = place.listed.params, "dust"
        collateral = self._stake(place).collateral
        put = self._act.supply_collateral(params, user, collateral, kind="setup")
        shares = self._state.rng.choice((1, 999_999, 1_500_000))
        return [put, self._act.borrow(params, user, shares=shares, kind=kind)]

    def _stake(self, place: Place) -> Stake:
        return self._populator.stake(place.listed, place.seen.price or 0)

    def _befriend(self, user: str) -> str:
        friend = self._state.people.newcomer()
        self._state.friends.append((user, friend))
        return friend

    def _out(self, kind: str, *, by_a_friend: bool) -> list[Transaction]:
        for one in self._head.sample([one for one in self._head.everyone if one.calm]):
            amount = near(self._state.rng, 0.1, 0.9, spare(one))
            if not amount:
                continue
            params, allowed, caller = one.place.listed.params, [], ""
            if by_a_friend:
                caller = self._befriend(one.user)
                allowed = [self._act.authorise(one.user, caller, allowed=True, kind="authorise")]
            taken = self._act.withdraw_collateral(
                params, one.user, amount, kind=kind, caller=caller
            )
            return [*allowed, taken]
        return []


def spare(one: One) -> int:
    """Return the collateral that can be taken out while the debt stays covered."""
    row = one.row
    if not row.borrow_shares:
        return row.collateral
    if not row.max_borrow:
        return 0
    return max(0, row.collateral - row.collateral * row.borrowed * COVERED // 100 // row.max_borrow)
