"""The market of one block while its logs are being read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chimera.domain.block import Address, BlockBatch, Log
from chimera.domain.changes import Change, CollateralSwitched, DebtMoved, SupplyMoved
from chimera.domain.market import Account
from chimera.errors import Rebuild, Skip
from chimera.ports import Accounts
from chimera.protocols.compound_v3 import calls, reading
from chimera.protocols.compound_v3.lacking import Extras
from chimera.protocols.compound_v3.market import CometMarket, Terms
from chimera.protocols.compound_v3.math import Indexes, accrued


class Draft:
    """
    The market while its block is being read.

    Attributes:
        totals: As `totalsBasic` answers at the end of the block.
        expected: The `Transfer` that must stand right after the last log: (index, from, to).
        announced: Whether logs tell why interest accrued, so that this is no hint.
        read: Whose principal was read.
        hinted: Whether a transfer of base was logged, which may have moved debts besides.
    """

    def __init__(
        self, market: CometMarket, accounts: Accounts, batch: BlockBatch, found: Extras
    ) -> None:
        self.market = market
        self.accounts = accounts
        self.batch = batch
        self.extras = found
        self.totals = reading.totals_in(market.comet, batch.readings)
        self.collateral_totals = {**found.collateral_totals, **market.collateral_totals}
        self.expected: tuple[int, Address, Address] | None = None
        self.corrections = 0
        self.unannounced = 0
        self.read: set[Address] = set()
        self._bits: dict[frozenset[Address], int] = {}
        self.announced = False
        self.hinted = False
        # What was read holds the end of this block, so this block's logs must not be added to it.
        self._followed: dict[Address, bool] = dict.fromkeys(found.accounts, False)

    @property
    def indexes(self) -> Indexes:
        """
        The indexes of every action of this block: at most one accrual happens in a second.

        Raises:
            Rebuild: Interest did not accrue in this block although a log says that it must have.
        """
        if self.totals.accrued_at != self.batch.block.timestamp:
            raise Rebuild(
                f"block {self.batch.block.number} moves base, yet interest stands at "
                f"{self.totals.accrued_at} s instead of {self.batch.block.timestamp} s"
            )
        return self.totals.indexes

    def follows(self, user: Address) -> bool:
        """Tell whether this block's logs move the user's account, as decided at the first one."""
        known = self._followed.get(user)
        if known is None:
            known = self.accounts.complete or self.accounts.get(user) is not None
            self._followed[user] = known
        return known

    def principal(self, user: Address) -> int:
        """Return the user's signed principal as it stands before the next log."""
        return self.market.principal(self.accounts.get(user))

    def expect(self, log: Log, sender: Address, receiver: Address) -> None:
        """Take the next log for a part of this one, if it is a `Transfer` between these two."""
        self.expected = (log.log_index + 1, sender, receiver)

    # --- changes ---------------------------------------------------------------------------------

    def settle(self, user: Address, after: int) -> Iterator[Change]:
        """Bring the user's principal to `after`, on whichever side that is."""
        if not self.follows(user):
            return
        before, token = self.principal(user), self.market.terms.base.token
        supplied = max(after, 0) - max(before, 0)
        owed = max(-after, 0) - max(-before, 0)
        if supplied:
            yield SupplyMoved(user, token, supplied)
        if owed:
            yield DebtMoved(user, token, owed)

    def move_collateral(self, user: Address, asset: Address, delta: int) -> Iterator[Change]:
        """
        Move a balance of collateral, and its bit where the balance leaves or reaches 0.

        Mirrors Comet.updateAssetsIn.

        Raises:
            Rebuild: The asset is no collateral of the market.
        """
        if not self.follows(user) or delta == 0:
            return
        if asset not in self._terms.collaterals:
            raise Rebuild(f"a log moves 0x{asset.hex()}, which is no collateral of the market")
        before = self.collateral(user, asset)
        yield SupplyMoved(user, asset, delta)
        if before == 0 or before + delta == 0:
            yield CollateralSwitched(user, asset, enabled=before == 0)

    def collateral(self, user: Address, asset: Address) -> int:
        """Return how much of a collateral the user holds before the next log."""
        account = self.accounts.get(user)
        place = account.shape.supply_place(asset) if account else None
        return account[place] if account and place else 0

    # --- the end ---------------------------------------------------------------------------------

    def differs(self, user: Address, basic: calls.UserBasic) -> bool:
        """
        Compare an account with what `userBasic` says after all logs; tell if its principal differs.

        Raises:
            Rebuild: The bitmaps differ, which only logs can change; or the principals do, although
                all were read at the block before and interest has not accrued since, so that no
                base can have moved.
        """
        self.read.add(user)
        account = self.accounts.get(user)
        bits = self._bits_of(account) if account else 0
        if bits != basic.bits:
            raise Rebuild(f"0x{user.hex()} has the collaterals {basic.bits:#x}, by us {bits:#x}")
        ours = self.market.principal(account)
        if ours == basic.principal:
            return False
        block = self.batch.block
        if self.market.is_exact and self.totals.accrued_at != block.timestamp:
            raise Rebuild(
                f"0x{user.hex()} has a principal of {basic.principal}, by us {ours}, "
                f"and nothing moved base in block {block.number}"
            )
        self.corrections += 1
        self.unannounced += self.announced and not self.hinted
        return True

    def _bits_of(self, account: Account) -> int:
        """Return the account's bitmap; hundreds are compared, of which many hold the same."""
        known = self._bits.get(account.enabled)
        if known is None:
            known = self._bits[account.enabled] = self._terms.bits(account)
        return known

    @property
    def _terms(self) -> Terms:
        return self.extras.terms or self.market.terms

    def finished(self) -> CometMarket:
        """Return the market at the end of the block, with what was read there."""
        terms, comet, readings = self._terms, self.market.comet, self.batch.readings
        return replace(
            self.market,
            terms=terms,
            totals=self.totals,
            collateral_totals=self.collateral_totals,
            prices=reading.prices_in(comet, terms, readings),
            cash=reading.cash_in(comet, terms, readings),
            corrections=self.corrections,
            unannounced=self.unannounced,
            is_exact=self.accounts.keys() <= self.read,
        )

    def check(self) -> None:
        """
        Check that the block's terms and interest follow from the market before.

        Raises:
            Rebuild: An upgrade gave the bits of the accounts another meaning, or interest accrued
                to other indexes than ours.
        """
        if not self._terms.extends(self.market.terms):
            raise Rebuild("an upgrade changed the base or the collaterals' order: read all anew")
        # In the block of an upgrade interest may have accrued before it or after it.
        before, after = self.market.totals, self.totals
        try:
            ours = [
                accrued(before, terms.supply, terms.borrow, after.accrued_at)
                for terms in (self.market.terms, self._terms)
            ]
        except Skip as overflow:
            raise Rebuild(f"interest accrued to {after.indexes}, by us: {overflow}") from overflow
        if after.indexes not in ours:
            raise Rebuild(f"interest accrued to {after.indexes}, by us to {ours[0]}")
