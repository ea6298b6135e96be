"""A seeded life at Morpho: what happens in the next block, for the caller to send and mine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from devnet.morpho_actions import MorphoActions
from devnet.morpho_core import COINS, HAND, Core
from devnet.morpho_happenings import Happenings
from devnet.morpho_head import Head
from devnet.morpho_others import Others
from devnet.morpho_state import Due, Sent, State
from devnet.morpho_truth import MorphoTruth
from devnet.node import Node, Transaction

# How often each thing is in the deck. All of it is drawn before the deck is shuffled again.
CHURN = {
    "supply_assets": 3,
    "supply_shares": 2,
    "withdraw_assets": 3,
    "withdraw_shares": 2,
    "authorised_withdraw": 1,
    "collateral_in": 3,
    "collateral_in_for_another": 2,
    "collateral_out": 3,
    "authorised_collateral_out": 1,
    "deposit": 2,
    "first_borrow": 2,
    "borrow_assets": 4,
    "borrow_shares": 3,
    "authorised_borrow": 1,
    "revoke": 1,
    "repay_assets": 3,
    "repay_shares": 3,
    "close": 2,
    "reopen": 2,
    "newcomer": 5,
    "dust": 1,
}
OTHERS = {
    "accrue": 2,
    "accrue_twice": 1,
    "new_market": 1,
    "set_fee": 2,
    "set_fee_recipient": 1,
    "liquidate_shares": 4,
    "liquidate_shares_partly": 3,
    "liquidate_seized_partly": 3,
    "liquidate_with_bad_debt": 2,
    "liquidate_the_healthy": 1,
}
REFUSED = {"liquidate_the_healthy"}  # what the contract has to refuse
MOVES = {"still": 5, "price": 6, "two_prices": 2, "dip": 2, "slide": 2, "hand": 3, "collapse": 1}
LEAST, MOST = 70, 135  # percent of its first price between which a price wanders
STEP, LEAP = 250, 1_200  # basis points by which a price moves, and now and then
STABLE_PART = 6  # stable assets move by this part of what volatile ones do
STABLE = {"USDC", "EURS"}
DIP = (86, 94)  # percent, for one block
SLIDE_BLOCKS, SLIDE_STEP = (2, 5), (150, 500)  # basis points each
COLLAPSE, COLLAPSED_BLOCKS = (35, 60), (2, 5)  # percent that remain, of the price in hand
BPS = 10_000


@dataclass(frozen=True, slots=True)
class MorphoMoment:
    """What of a step was in a block: kinds that went well, and those that were refused."""

    number: int
    succeeded: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)


class MorphoLife:
    """Goes on from wherever the chain is. The same seed on the same chain lives the same life."""

    def __init__(self, node: Node, core: Core, state: State, truth: MorphoTruth) -> None:
        self._node = node
        self._core = core
        self._state = state
        self._head = Head(core, state, truth)
        self._happenings = Happenings(core, state, self._head)
        self._others = Others(core, state, self._head)
        self._act = MorphoActions(core)
        self._first = dict(state.answers), state.hand

    def act(self, actions: int) -> list[Transaction]:
        """Return what happens next: so many things by the deck, and the prices' move."""
        state = self._state
        state.steps += 1
        self._head.refresh()
        things: list[Transaction] = []
        happened, tried, idle = 0, 0, []
        while happened < actions and tried < 3 * actions:
            name, tried = self._draw(), tried + 1
            found = self._happen(name)
            happened += bool(found)
            things += found
            idle += [] if found else [name]
        things += self._others.relief()
        state.deck += reversed(idle)  # what could not happen is next in the next block
        prices = self.prices()
        return [*prices, *things] if state.rng.random() < 0.5 else [*things, *prices]

    def expect(self, transactions: Sequence[Transaction]) -> None:
        """Remember what has been handed out, in order to know it again in a block."""
        for one in transactions:
            key = one.sender.lower(), one.to.lower(), "0x" + one.data.hex()
            self._state.pending.setdefault(key, []).append(one.kind)

    def mined(self, number: int) -> MorphoMoment:
        """Count what of the last steps was in this block; what was not is forgotten."""
        whole_transactions = True
        block = self._node.rpc("eth_getBlockByNumber", hex(number), whole_transactions)
        statuses = self._node.statuses(number)
        moment, pending = MorphoMoment(number), self._state.pending
        for sent in block["transactions"]:
            key: Sent = sent["from"].lower(), (sent["to"] or "").lower(), sent["input"]
            if kinds := pending.get(key):
                counts = moment.succeeded if statuses[sent["hash"]] else moment.failed
                counts[kinds.pop(0)] += 1
        pending.clear()
        self._state.succeeded.update(moment.succeeded)
        self._state.failed.update(moment.failed)
        again = [kind for kind in moment.failed if not self._state.succeeded[kind]]
        self._state.deck += sorted(set(again) & (CHURN.keys() | OTHERS.keys()) - REFUSED)
        return moment

    def prices(self) -> list[Transaction]:
        """Return the prices of this step: those that are due, or else what the deck says."""
        state = self._state
        found = [due for due in state.due if due.step <= state.steps]
        state.due = [due for due in state.due if due.step > state.steps]
        busy = {due.symbol for due in (*found, *state.due)}
        if not state.moves:
            state.moves = _shuffled(MOVES, state)
        found += [due for due in self._move(state.moves.pop()) if due.symbol not in busy]
        now = [due for due in found if due.step <= state.steps]
        state.due += [due for due in found if due.step > state.steps]
        return [self.priced(due.symbol, due.price, due.kind) for due in now]

    def priced(self, symbol: str, price: int, kind: str) -> Transaction:
        """Return what sets a price: of a feed in USD (8 decimals), of `HAND` scaled by 1e36."""
        if symbol == HAND:
            self._state.hand = price
            return self._act.set_hand(price, kind)
        self._state.answers[symbol] = price
        return self._act.set_answer(symbol, price, kind)

    def _happen(self, name: str) -> list[Transaction]:
        found: list[Transaction] = getattr(
            self._happenings if name in CHURN else self._others, name
        )()
        return found

    def _draw(self) -> str:
        if not self._state.deck:
            self._state.deck = _shuffled(CHURN | OTHERS, self._state)
        return self._state.deck.pop()

    # -- prices ----------------------------------------------------------------------------------

    def _move(self, name: str) -> list[Due]:
        if name == "still":
            return []
        if name in ("hand", "collapse"):
            return self._hand(name)
        rng, now = self._state.rng, self._state.steps
        symbols = rng.sample(sorted(self._state.answers), 2 if name == "two_prices" else 1)
        symbol, kept = symbols[0], self._state.answers[symbols[0]]
        if name == "dip":
            low = kept * rng.randint(*DIP) // 100
            return [Due(now, symbol, low, "dip"), Due(now + 1, symbol, kept, "recovery")]
        if name == "slide":
            return self._slide(symbol)
        return [Due(now, one, self._wander(one), "price") for one in symbols]

    def _hand(self, name: str) -> list[Due]:
        rng, now, kept = self._state.rng, self._state.steps, self._state.hand
        if name == "hand":
            part = BPS + rng.randint(-STEP, STEP)
            return [Due(now, HAND, self._within(kept * part // BPS, self._first[1]), "hand")]
        back = now + rng.randint(*COLLAPSED_BLOCKS)
        low = kept * rng.randint(*COLLAPSE) // 100
        return [Due(now, HAND, low, "collapse"), Due(back, HAND, kept, "hand")]

    def _slide(self, symbol: str) -> list[Due]:
        rng, price = self._state.rng, self._state.answers[symbol]
        sign, found = rng.choice((-1, 1)), []
        for block in range(rng.randint(*SLIDE_BLOCKS)):
            price = price * (BPS + sign * rng.randint(*SLIDE_STEP)) // BPS
            price = self._within(price, self._first[0][symbol])
            found.append(Due(self._state.steps + block, symbol, price, "slide"))
        return found

    def _wander(self, symbol: str) -> int:
        rng = self._state.rng
        most = rng.choice((STEP, STEP, LEAP)) // (STABLE_PART if symbol in STABLE else 1)
        price = self._state.answers[symbol] * (BPS + rng.randint(-most, most)) // BPS
        return self._within(price, self._first[0][symbol])

    @staticmethod
    def _within(price: int, first: int) -> int:
        return min(max(price, first * LEAST // 100), first * MOST // 100)


def first_answers() -> dict[str, int]:
    """Return the first price of every feed that can be set (USD, 8 decimals)."""
    return {symbol: coin.price for symbol, coin in COINS.items() if not coin.wraps}


def _shuffled(cards: dict[str, int], state: State) -> list[str]:
    found = [name for name, times in cards.items() for _ in range(times)]
    state.rng.shuffle(found)
    return found
