"""What people do at the core pool of Venus, as transactions ready to send."""

from __future__ import annotations

from devnet.actions import PURSE
from devnet.node import Contract, Node, Transaction
from devnet.venus_market import ON, UNLIMITED, Listing, VenusMarket, order

BANK = "0x3000000000000000000000000000000000000023"  # lends, and pays for others
LIQUIDATOR = "0x4000000000000000000000000000000000000024"
STRANGER = "0x5000000000000000000000000000000000000025"  # touches what is nobody's


class VenusActions:
    """Transactions on one pool. Amounts are smallest units; tokens are vTokens of 8 decimals."""

    def __init__(self, market: VenusMarket) -> None:
        self._market = market

    def open_purses(self, node: Node, listing: Listing) -> None:
        """Send what gives the bank and the liquidator tokens and approvals for one market."""
        for owner in (BANK, LIQUIDATOR):
            amount = PURSE * listing.asset.unit
            node.send(self.to(listing.token, owner, "setup", "mint", owner, amount))
            spender = listing.v_token.address
            node.send(self.to(listing.token, owner, "setup", "approve", spender, UNLIMITED))

    def purse(self, owner: str, symbol: str, amount: int) -> list[Transaction]:
        """Make tokens from nothing for someone, and let the market take them."""
        listing = self._market.listings[symbol]
        token, spender = listing.token, listing.v_token.address
        return [
            self.to(token, owner, "setup", "mint", owner, amount),
            self.to(token, owner, "setup", "approve", spender, UNLIMITED),
        ]

    def mint(self, user: str, symbol: str, amount: int) -> Transaction:
        """Supply out of one's own purse."""
        return self._at(symbol, user, "mint", "mint", amount)

    def mint_behalf(self, user: str, symbol: str, amount: int, kind: str = "") -> Transaction:
        """Supply for someone out of the bank's purse."""
        return self._at(symbol, BANK, kind or "mint_behalf", "mintBehalf", user, amount)

    def redeem(self, user: str, symbol: str, tokens: int, kind: str = "redeem") -> Transaction:
        """Give vTokens back."""
        return self._at(symbol, user, kind, "redeem", tokens)

    def redeem_underlying(self, user: str, symbol: str, amount: int) -> Transaction:
        """Take out an amount of the underlying."""
        return self._at(symbol, user, "redeem_underlying", "redeemUnderlying", amount)

    def borrow(self, user: str, symbol: str, amount: int, kind: str = "borrow") -> Transaction:
        """Draw a debt."""
        return self._at(symbol, user, kind, "borrow", amount)

    def borrow_behalf(self, user: str, symbol: str, amount: int, caller: str) -> list[Transaction]:
        """Let someone else take the money, at the user's expense."""
        pool = self._market.comptroller
        return [
            self.to(pool, user, "setup", "updateDelegate", caller, ON),
            self._at(symbol, caller, "borrow_behalf", "borrowBehalf", user, amount),
        ]

    def repay(self, user: str, symbol: str, amount: int) -> list[Transaction]:
        """Pay back out of one's own purse; more than owed closes the debt."""
        own = self.purse(user, symbol, amount)
        return [*own, self._at(symbol, user, "repay", "repayBorrow", amount)]

    def repay_behalf(self, user: str, symbol: str, amount: int, kind: str = "") -> Transaction:
        """Let the bank pay someone's debt back."""
        kind = kind or "repay_behalf"
        return self._at(symbol, BANK, kind, "repayBorrowBehalf", user, amount)

    def enter(self, user: str, symbols: list[str], kind: str = "enter_market") -> Transaction:
        """Make markets count, as collateral and as debt."""
        places = [self._market.listings[symbol].v_token.address for symbol in symbols]
        return self.to(self._market.comptroller, user, kind, "enterMarkets", places)

    def leave(self, user: str, symbol: str, kind: str = "exit_market") -> Transaction:
        """Make a market count no longer; refused in silence while it is needed."""
        place = self._market.listings[symbol].v_token.address
        return self.to(self._market.comptroller, user, kind, "exitMarket", place)

    def choose_pool(self, user: str, number: int, kind: str = "enter_pool") -> Transaction:
        """Choose a pool of risk, 0 for the core pool."""
        return self.to(self._market.comptroller, user, kind, "enterPool", number)

    def transfer(
        self, user: str, symbol: str, tokens: int, to: str, kind: str = "transfer"
    ) -> Transaction:
        """Hand vTokens over."""
        return self._at(symbol, user, kind, "transfer", to, tokens)

    def stray(self, user: str, symbol: str, tokens: int) -> Transaction:
        """Send vTokens to the vToken itself, where they rest for ever."""
        place = self._market.listings[symbol].v_token.address
        return self.transfer(user, symbol, tokens, place, "stray")

    def donate(self, symbol: str, amount: int) -> Transaction:
        """Send the underlying to the market without being asked."""
        listing = self._market.listings[symbol]
        place = listing.v_token.address
        return self.to(listing.token, BANK, "donate", "transfer", place, amount)

    def add_reserves(self, symbol: str, amount: int) -> Transaction:
        """Give to the reserves."""
        return self._at(symbol, BANK, "add_reserves", "_addReserves", amount)

    def flash(self, user: str, symbol: str, amount: int, part: int, kind: str) -> list[Transaction]:
        """Take a flash loan and give so many percent back; the rest becomes the user's debt."""
        pool, place = self._market.comptroller, self._market.listings[symbol].v_token.address
        loan = (user, self._market.flash, [place], [amount], part.to_bytes(32))
        return [
            order(pool, "setup", "setWhiteListFlashLoanAccount", user, ON),
            self.to(pool, user, kind, "executeFlashLoan", *loan),
        ]

    def accrue(self, symbol: str) -> Transaction:
        """Bring a market's interest up to the block."""
        return self._at(symbol, STRANGER, "accrue", "accrueInterest")

    def liquidate(
        self, user: str, debt: str, collateral: str, amount: int, kind: str = "liquidate"
    ) -> Transaction:
        """Repay for someone and take his vTokens."""
        place = self._market.listings[collateral].v_token.address
        return self._at(debt, LIQUIDATOR, kind, "liquidateBorrow", user, amount, place)

    def _at(
        self, symbol: str, sender: str, kind: str, function: str, *arguments: object
    ) -> Transaction:
        return self.to(self._market.listings[symbol].v_token, sender, kind, function, *arguments)

    @staticmethod
    def to(
        target: Contract, sender: str, kind: str, function: str, *arguments: object
    ) -> Transaction:
        """Return any call of any contract."""
        data = target.artifact.encode(function, *arguments)
        return Transaction(sender, target.address, data, kind)
