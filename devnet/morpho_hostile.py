"""Markets that anybody could have made: their oracle or their token answers to do harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from devnet.actions import BANK
from devnet.artifacts import ours
from devnet.market import DEPLOYER
from devnet.morpho_actions import MorphoActions
from devnet.morpho_core import PRICE_DIGITS, Core, Params, create, percent
from devnet.morpho_population import People
from devnet.node import Contract, Node, Transaction

HONEST, REVERTING, ENDLESS, HUGE, HUGE_REVERT, SHORT = range(6)  # as MorphoHostile.sol has them
LLTV = percent(860)
PRICE = 2_500 * 10 ** (PRICE_DIGITS + 6 - 18)  # USDC per WETH, as the honest oracle has it
COLLATERAL, DEBTS = 10**18, (2_149_000_000, 1_000_000_000)  # close to the limit, and far from it
SUPPLY = 100_000 * 10**6
# How the oracle answers, and the word in the answer if there is one.
ORACLES: Mapping[str, tuple[int, int]] = {
    "reverting": (REVERTING, 0),
    "gas_burning": (ENDLESS, 0),
    "huge_answer": (HUGE, PRICE),
    "huge_revert": (HUGE_REVERT, PRICE),
    "garbage": (SHORT, PRICE),
    "price_zero": (HONEST, 0),
    "price_above_128_bits": (HONEST, 2**130),
    "price_overflowing": (HONEST, 2**255),
}
# How the collateral's symbol and decimals answer; its oracle is honest.
TOKENS: Mapping[str, tuple[int, int]] = {
    "token_reverting": (REVERTING, 0),
    "token_gas_burning": (ENDLESS, 0),
    "token_huge_answer": (HUGE, 18),
    "token_garbage": (SHORT, 18),
    "token_300_decimals": (HONEST, 300),
}
KINDS = (*ORACLES, *TOKENS)
UNBOUNDED = {"huge_answer"}  # the contract takes what a careful reader refuses to receive


@dataclass(frozen=True, slots=True)
class Hostile:
    """A market of this sort, and who is in it: all but the last have debt."""

    kind: str
    params: Params
    oracle: Contract
    users: tuple[str, ...]

    def turn(self, *, honest: bool = False) -> Transaction:
        """Return what makes the oracle do harm, or makes it honest again."""
        mode, word = (HONEST, PRICE) if honest else ORACLES.get(self.kind, (HONEST, PRICE))
        data = self.oracle.artifact.encode("turn", mode, word)
        return Transaction(DEPLOYER, self.oracle.address, data, "turn")


def send_hostile(node: Node, core: Core, people: People, kind: str) -> Hostile:
    """
    Send what makes a market with two borrowers and one who only has collateral; still honest.

    The first borrower has debt in an honest market too.

    Raises:
        ValueError: There is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"no hostile market is called {kind}")
    act, irm = MorphoActions(core), core.irms["adaptive"]
    oracle = create(node, ours("MorphoHostileOracle"), PRICE)
    collateral = core.tokens["WETH"]
    if kind in TOKENS:
        collateral = create(node, ours("MorphoHostileToken"), core.morpho.address, *TOKENS[kind])
        node.send(act.mint(collateral.address, BANK, 10 * COLLATERAL))
    loan, model = core.tokens["USDC"].address, irm.address if irm else ""
    params = Params(loan, collateral.address, oracle.address, model, LLTV)
    users = people.borrowers[0], people.newcomer(), people.newcomer()
    node.send(act.create_market(params, "hostile"))
    node.send(act.supply(params, BANK, SUPPLY, kind="hostile"))
    for user in users:
        node.send(act.supply_collateral(params, user, COLLATERAL, kind="hostile"))
    for user, debt in zip(users, DEBTS, strict=False):
        node.send(act.borrow(params, user, debt, kind="hostile"))
    return Hostile(kind, params, oracle, users)
