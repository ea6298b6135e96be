"""What people do at Morpho, as transactions ready to send."""

from __future__ import annotations

from devnet.actions import BANK, LIQUIDATOR, PURSE
from devnet.market import DEPLOYER
from devnet.morpho_core import COINS, Core, Params
from devnet.node import Contract, Node, Transaction

GAS = 6_000_000  # a megabyte of an oracle's answer fits in


class MorphoActions:
    """Transactions on one singleton. Amounts are smallest units, or shares where it says so."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def open_purses(self, node: Node) -> None:
        """Send what gives the bank and the liquidator tokens of every kind."""
        for owner in (BANK, LIQUIDATOR):
            for symbol, coin in COINS.items():
                amount = PURSE * 10**coin.decimals
                node.send(self.mint(self._core.tokens[symbol].address, owner, amount))

    def mint(self, token: str, owner: str, amount: int) -> Transaction:
        """Make tokens from nothing. All tokens here speak alike."""
        data = self._core.tokens["USDC"].artifact.encode("mint", owner, amount)
        return Transaction(BANK, token, data, "setup", GAS)

    def supply(
        self,
        market: Params,
        user: str,
        amount: int = 0,
        shares: int = 0,
        *,
        kind: str,
        payer: str = BANK,
    ) -> Transaction:
        """Lend for `user`, by assets or by shares."""
        return self._do(payer, kind, "supply", market, amount, shares, user, b"")

    def withdraw(
        self,
        market: Params,
        user: str,
        amount: int = 0,
        shares: int = 0,
        *,
        kind: str,
        caller: str = "",
    ) -> Transaction:
        """Take back what was lent; a `caller` who is authorised gets it."""
        who = caller or user
        return self._do(who, kind, "withdraw", market, amount, shares, user, who)

    def borrow(
        self,
        market: Params,
        user: str,
        amount: int = 0,
        shares: int = 0,
        *,
        kind: str,
        caller: str = "",
    ) -> Transaction:
        """Borrow; a `caller` who is authorised gets the money, and `user` owes."""
        who = caller or user
        return self._do(who, kind, "borrow", market, amount, shares, user, who)

    def repay(
        self,
        market: Params,
        user: str,
        amount: int = 0,
        shares: int = 0,
        *,
        kind: str,
        payer: str = BANK,
    ) -> Transaction:
        """Repay `user`'s debt, by assets or by shares."""
        return self._do(payer, kind, "repay", market, amount, shares, user, b"")

    def supply_collateral(
        self, market: Params, user: str, amount: int, *, kind: str, payer: str = BANK
    ) -> Transaction:
        """Put collateral in for `user`."""
        return self._do(payer, kind, "supplyCollateral", market, amount, user, b"")

    def withdraw_collateral(
        self, market: Params, user: str, amount: int, *, kind: str, caller: str = ""
    ) -> Transaction:
        """Take collateral out; a `caller` who is authorised gets it."""
        who = caller or user
        return self._do(who, kind, "withdrawCollateral", market, amount, user, who)

    def authorise(self, user: str, other: str, *, allowed: bool, kind: str) -> Transaction:
        """Let someone else act for `user`, or no longer."""
        return self._to(self._core.morpho, user, kind, "setAuthorization", other, allowed)

    def liquidate(
        self, market: Params, user: str, seized: int = 0, shares: int = 0, *, kind: str
    ) -> Transaction:
        """Liquidate as the third party: so much collateral, or so many shares of debt."""
        return self._do(LIQUIDATOR, kind, "liquidate", market, user, seized, shares, b"")

    def accrue(self, market: Params, kind: str = "accrue") -> Transaction:
        """Accrue interest, which anybody may."""
        return self._do(BANK, kind, "accrueInterest", market)

    def create_market(self, market: Params, kind: str = "new_market") -> Transaction:
        """Create a market, which anybody may."""
        return self._do(BANK, kind, "createMarket", market)

    def set_fee(self, market: Params, fee: int) -> Transaction:
        """Set a market's fee (WAD), as the owner."""
        return self._do(DEPLOYER, "set_fee", "setFee", market, fee)

    def set_fee_recipient(self, user: str) -> Transaction:
        """Name who gets the fees of all markets, as the owner."""
        name = "set_fee_recipient"
        return self._to(self._core.morpho, DEPLOYER, name, "setFeeRecipient", user)

    def set_answer(self, symbol: str, answer: int, kind: str) -> Transaction:
        """Write a round of a feed (USD, 8 decimals), which its aggregator logs."""
        return self._to(self._core.aggregators[symbol], DEPLOYER, kind, "set", answer)

    def set_hand(self, price: int, kind: str) -> Transaction:
        """
        Set the price of the hand-held oracle (scaled by 1e36), which nothing logs.

        Raises:
            RuntimeError: There is no such oracle on this stage.
        """
        if self._core.hand is None:
            raise RuntimeError("no oracle in hand")
        return self._to(self._core.hand, DEPLOYER, kind, "setPrice", price)

    def _do(
        self, sender: str, kind: str, function: str, market: Params, *arguments: object
    ) -> Transaction:
        return self._to(self._core.morpho, sender, kind, function, market.row, *arguments)

    @staticmethod
    def _to(
        target: Contract, sender: str, kind: str, function: str, *arguments: object
    ) -> Transaction:
        data = target.artifact.encode(function, *arguments)
        return Transaction(sender, target.address, data, kind, GAS)
