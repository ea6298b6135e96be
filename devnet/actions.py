"""What people do at the pool, as transactions ready to send."""

from __future__ import annotations

import random

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from devnet.market import Market
from devnet.node import Contract, Node, Transaction

BANK = "0x3000000000000000000000000000000000000003"  # lends, and pays for others
LIQUIDATOR = "0x4000000000000000000000000000000000000004"
MAX = 2**256 - 1
PURSE = 10**12  # whole tokens of each kind, for the bank and for the liquidator
VARIABLE = 2  # Aave's interest rate mode


def person(seed: int, number: int) -> str:
    """Return the address of the `number`-th person of a seed."""
    return to_checksum_address(keccak(text=f"chimera devnet {seed} {number}")[12:])


def near(rng: random.Random, low: float, high: float, whole: int) -> int:
    """Return a part of `whole` between two fractions, exact in integers."""
    millionths = rng.randint(int(low * 10**6), int(high * 10**6))
    return whole * millionths // 10**6


class Actions:
    """Transactions on one market. Amounts are smallest units of the named reserve."""

    def __init__(self, market: Market) -> None:
        self._market = market

    def open_purses(self, node: Node) -> None:
        """Send what gives the bank and the liquidator tokens and approvals for everything."""
        for owner in (BANK, LIQUIDATOR):
            for symbol, listing in self._market.listings.items():
                node.send(self.mint(owner, symbol, PURSE * listing.reserve.unit))
                node.send(self.approve(owner, symbol))

    def mint(self, owner: str, symbol: str, amount: int) -> Transaction:
        """Make tokens from nothing."""
        return self.mint_of(self._market.listings[symbol].token, owner, amount)

    def approve(self, owner: str, symbol: str) -> Transaction:
        """Let the pool take the owner's tokens."""
        token, pool = self._market.listings[symbol].token, self._market.pool.address
        return self.approve_of(token, owner, pool)

    @staticmethod
    def mint_of(token: Contract, owner: str, amount: int) -> Transaction:
        """Make tokens from nothing, of a token that need not be listed yet."""
        return Actions.to(token, owner, "setup", "mint", owner, amount)

    @staticmethod
    def approve_of(token: Contract, owner: str, spender: str) -> Transaction:
        """Let someone take the owner's tokens, of a token that need not be listed yet."""
        return Actions.to(token, owner, "setup", "approve", spender, MAX)

    def supply(
        self, user: str, symbol: str, amount: int, kind: str = "supply", payer: str = BANK
    ) -> Transaction:
        """Supply for `user`, by default out of the bank's purse."""
        return self._pool(payer, kind, "supply", self.token(symbol), amount, user, 0)

    def withdraw(
        self, user: str, symbol: str, amount: int = MAX, kind: str = "withdraw"
    ) -> Transaction:
        """Withdraw, by default everything."""
        return self._pool(user, kind, "withdraw", self.token(symbol), amount, user)

    def borrow(
        self, user: str, symbol: str, amount: int, kind: str = "borrow", caller: str = ""
    ) -> Transaction:
        """Borrow; with a `caller`, that one takes the money and `user` owes."""
        rest = (amount, VARIABLE, 0, user)
        return self._pool(caller or user, kind, "borrow", self.token(symbol), *rest)

    def repay(self, user: str, symbol: str, amount: int, kind: str = "repay") -> Transaction:
        """Repay `user`'s debt out of the bank's purse; more than owed closes it."""
        return self._pool(BANK, kind, "repay", self.token(symbol), amount, VARIABLE, user)

    def repay_with_a_tokens(self, user: str, symbol: str, amount: int) -> Transaction:
        """Repay out of what the user has supplied of the same asset."""
        arguments = (self.token(symbol), amount, VARIABLE)
        return self._pool(user, "repay_with_a_tokens", "repayWithATokens", *arguments)

    def set_emode(self, user: str, category: int) -> Transaction:
        """Enter an efficiency mode, or leave it with 0."""
        return self._pool(user, "set_emode", "setUserEMode", category)

    def use_as_collateral(self, user: str, symbol: str, *, enabled: bool) -> Transaction:
        """Switch a supplied asset on or off as collateral."""
        function = "setUserUseReserveAsCollateral"
        return self._pool(user, "toggle_collateral", function, self.token(symbol), enabled)

    def transfer(self, user: str, symbol: str, amount: int, to: str) -> Transaction:
        """Hand aTokens over."""
        a_token = self._market.listings[symbol].a_token
        return self.to(a_token, user, "transfer_a_tokens", "transfer", to, amount)

    def delegate(self, user: str, symbol: str, amount: int, to: str) -> Transaction:
        """Allow someone else to borrow at the user's expense."""
        debt_token = self._market.listings[symbol].debt_token
        return self.to(debt_token, user, "setup", "approveDelegation", to, amount)

    def liquidate(
        self, user: str, collateral: str, debt: str, amount: int, *, receive_a_token: bool
    ) -> Transaction:
        """Liquidate as the third party; `MAX` covers all that the close factor allows."""
        kind = "liquidate" if amount == MAX else "liquidate_partly"
        kind = "liquidate_for_a_tokens" if receive_a_token else kind
        pair = (self.token(collateral), self.token(debt))
        rest = (*pair, user, amount, receive_a_token)
        return self._pool(LIQUIDATOR, kind, "liquidationCall", *rest)

    def token(self, symbol: str) -> str:
        """Return the address of a reserve's token."""
        return self._market.listings[symbol].token.address

    def _pool(self, sender: str, kind: str, function: str, *arguments: object) -> Transaction:
        return self.to(self._market.pool, sender, kind, function, *arguments)

    @staticmethod
    def to(
        target: Contract, sender: str, kind: str, function: str, *arguments: object
    ) -> Transaction:
        """Return any call of any contract."""
        return Transaction(
            sender, target.address, target.artifact.encode(function, *arguments), kind
        )
