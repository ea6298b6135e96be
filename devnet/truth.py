"""What the contracts themselves say, read without any of Chimera's code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from devnet.artifacts import aave
from devnet.market import Market
from devnet.node import Node, address_in

WAD = 10**18
NO_DEBT = 2**256 - 1  # the health factor of an account that owes nothing


class AccountData(NamedTuple):
    """Pool.getUserAccountData: USD with 8 decimals, basis points, WAD."""

    total_collateral: int
    total_debt: int
    available_borrows: int
    liquidation_threshold: int
    ltv: int
    health_factor: int


class Holding(NamedTuple):
    """One user in one reserve: balances with interest, and whether it counts as collateral."""

    supplied: int
    owed: int
    is_collateral: bool


class Truth:
    """Reads of one market, pinned to a block where a block can be given."""

    def __init__(self, node: Node, market: Market) -> None:
        self._node = node
        self._market = market

    def account_data(
        self, users: Sequence[str], block: int | str = "latest"
    ) -> dict[str, AccountData | None]:
        """Return the pool's own view of each user; None where it reverts (a dead price)."""
        pool = self._market.pool
        view = "getUserAccountData"
        calls = [(pool.address, pool.artifact.encode(view, user)) for user in users]
        answers = self._node.multicall(calls, block)
        return {
            user: None if answer is None else AccountData(*pool.artifact.decode(view, answer))
            for user, answer in zip(users, answers, strict=True)
        }

    def health_factors(
        self, users: Sequence[str], block: int | str = "latest"
    ) -> dict[str, int | None]:
        """Return health factors in WAD; None without debt and where the view reverts."""
        accounts = self.account_data(users, block)
        return {user: health_of(account) for user, account in accounts.items()}

    def borrowers_ever(self, block: int | str = "latest") -> list[str]:
        """Return everyone who ever got a debt token, from the Mint logs of the debt tokens."""
        debt_tokens = [one.debt_token.address for one in self._market.listings.values()]
        mint = aave("VariableDebtToken").topic("Mint")
        logs = self._node.logs(addresses=debt_tokens, topics=[mint], last=block)
        return sorted({address_in(log["topics"][2]) for log in logs})

    def holders_ever(self, block: int | str = "latest") -> list[str]:
        """Return everyone who ever got an aToken or a debt token, from their Transfer logs."""
        listings = self._market.listings.values()
        tokens = [t.address for one in listings for t in (one.a_token, one.debt_token)]
        transfer = aave("AToken").topic("Transfer")
        logs = self._node.logs(addresses=tokens, topics=[transfer], last=block)
        return sorted({address_in(log["topics"][2]) for log in logs} - {address_in("0" * 64)})

    def borrowers_now(self, block: int | str = "latest") -> list[str]:
        """Return everyone whose debt tokens are not empty."""
        ever = self.borrowers_ever(block)
        debt_tokens = [one.debt_token for one in self._market.listings.values()]
        calls = [
            (token.address, token.artifact.encode("scaledBalanceOf", user))
            for user in ever
            for token in debt_tokens
        ]
        answers = self._node.multicall(calls, block)
        width = len(debt_tokens)
        return [
            user
            for place, user in enumerate(ever)
            if any(any(answer or b"") for answer in answers[place * width : (place + 1) * width])
        ]

    def unhealthy(self, block: int | str = "latest") -> list[str]:
        """Return the borrowers whose health factor is under 1."""
        health = self.health_factors(self.borrowers_ever(block), block)
        return [user for user, value in health.items() if value is not None and value < WAD]

    def holdings(
        self, users: Iterable[str], block: int | str = "latest"
    ) -> dict[str, dict[str, Holding]]:
        """Return, per user and symbol, what is supplied and owed; empty reserves left out."""
        wanted, provider = list(users), self._market.data_provider
        view = "getUserReserveData"
        keys = [(user, symbol) for user in wanted for symbol in self._market.listings]
        tokens = {symbol: one.token.address for symbol, one in self._market.listings.items()}
        calls = [
            (provider.address, provider.artifact.encode(view, tokens[symbol], user))
            for user, symbol in keys
        ]
        found: dict[str, dict[str, Holding]] = {user: {} for user in wanted}
        answers = self._node.multicall(calls, block)
        for (user, symbol), answer in zip(keys, answers, strict=True):
            fields = provider.artifact.decode(view, answer or b"")
            holding = Holding(fields[0], fields[2], fields[8])
            if holding.supplied or holding.owed:
                found[user][symbol] = holding
        return found

    def digest(self, block: int | str = "latest") -> str:
        """Return one hash over every holder's account data, to compare two chains."""
        accounts = self.account_data(self.holders_ever(block), block)
        text = "\n".join(f"{user} {account}" for user, account in sorted(accounts.items()))
        return hashlib.sha256(text.encode()).hexdigest()


def health_of(account: AccountData | None) -> int | None:
    """Return the health factor in WAD; None without debt or without an answer."""
    if account is None or account.health_factor == NO_DEBT:
        return None
    return account.health_factor
