from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from devnet.anvil import Anvil
from devnet.market import ZERO
from devnet.morpho import MorphoStage
from devnet.morpho_core import HAND, LATER, PLANS, WAD, blue
from devnet.morpho_hostile import KINDS, ORACLES, PRICE, TOKENS, UNBOUNDED
from devnet.morpho_life import CHURN, OTHERS, REFUSED
from devnet.morpho_truth import PRICE_SCALE, Key, near
from devnet.node import Node, RpcError, bytes_of
from devnet.stage import Stage

SEED, BORROWERS = 7, 60
BLOCKS = 64
LEAPS = (2, 2, 2, 12, 3_600, 2, 2, 86_400)  # seconds from block to block, in turn
MONTH, MONTHLY = 30 * 86_400, 30  # once in so many blocks
PERCENT = WAD // 100


@dataclass
class Lived:
    """What was seen in a life, block by block."""

    stage: MorphoStage
    judged: Counter[bool] = field(default_factory=Counter)  # by what the formula says
    differences: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    under: dict[int, set[Key]] = field(default_factory=dict)

    def attend(self, block: int) -> None:
        """Ask the contract about everybody near the limit; the books have to balance."""
        truth = self.stage.truth
        health = truth.health(block)
        self.under[block] = {k for k, factor in health.items() if factor and factor < WAD}
        for key, verdict in truth.liquidatable(near(health, 2 * PERCENT), block).items():
            self.judged[open_to := (health[key] or 0) < WAD] += 1
            if verdict != (open_to, open_to):
                self.differences.append(f"block {block}: {key}: {health[key]} but {verdict}")
        self.incomplete += unbalanced(self.stage, block)


def unbalanced(stage: MorphoStage, block: int) -> list[str]:
    """Return the markets whose shares are not those of the people that the truth knows."""
    owed: Counter[str] = Counter()
    lent: Counter[str] = Counter()
    for (market, _), standing in stage.truth.at(block).items():
        owed[market] += standing.borrow_shares
    for (market, _), shares in stage.truth.supply_shares(block).items():
        lent[market] += shares
    return [
        f"block {block}: {market}"
        for market, seen in stage.truth.markets(block).items()
        if (lent[market], owed[market]) != (seen.stored.supply_shares, seen.stored.borrow_shares)
    ]


@pytest.fixture(scope="module")
def morpho() -> Iterator[MorphoStage]:
    with Anvil() as anvil, Node(anvil.http) as node:
        yield MorphoStage(node, SEED, BORROWERS)


@pytest.fixture(scope="module")
def lived() -> Iterator[Lived]:
    with Anvil() as anvil, Node(anvil.http) as node:
        seen = Lived(MorphoStage(node, SEED, BORROWERS))
        for step in range(BLOCKS):
            seconds = MONTH if step % MONTHLY == MONTHLY - 1 else LEAPS[step % len(LEAPS)]
            seen.attend(seen.stage.step(seconds=seconds, actions=8).number)
        yield seen


# -- what stands there --------------------------------------------------------------------------


def test_as_many_borrowers_as_were_asked_for_and_some_of_them_twice(morpho: MorphoStage) -> None:
    health = morpho.truth.health()
    people = {user for _, user in health}

    assert people == set(morpho.state.people.borrowers)
    assert len(people) == BORROWERS < len(health)
    assert unbalanced(morpho, morpho.node.number) == []


def test_people_stand_at_every_distance_from_the_limit(morpho: MorphoStage) -> None:
    factors = [factor for factor in morpho.truth.health().values() if factor is not None]

    assert any(abs(factor - WAD) < WAD // 100_000 for factor in factors)
    assert sum(factor < 105 * PERCENT for factor in factors) >= len(factors) // 4
    assert sum(factor > 150 * PERCENT for factor in factors) >= len(factors) // 12


def test_the_markets_are_of_every_sort(morpho: MorphoStage) -> None:
    seen = morpho.truth.markets()
    models = {params.irm for params in morpho.truth.params().values()}

    assert len(seen) == len(PLANS) == 9
    assert {one.params.lltv for one in seen.values()} >= {0, 625 * WAD // 1000, 98 * PERCENT}
    assert ZERO in models
    assert len(models) == 3
    assert {one.stored.fee for one in seen.values()} == {0, 5 * PERCENT, 10 * PERCENT, 25 * PERCENT}
    assert len({one.params.oracle for one in seen.values()}) < len(seen)
    assert [one.price for one in seen.values() if one.params.oracle == ZERO] == [None]


def test_the_configuration_names_the_singleton_and_its_block(morpho: MorphoStage) -> None:
    table = morpho.protocol("blue")
    deployed = morpho.node.rpc("eth_getCode", morpho.address, hex(morpho.from_block))
    before = morpho.node.rpc("eth_getCode", morpho.address, hex(morpho.from_block - 1))

    assert table == {
        "name": "blue",
        "kind": "morpho_blue",
        "address": morpho.address,
        "from_block": morpho.from_block,
    }
    assert len(deployed) > 10_000
    assert before == "0x"


# Recorded from the real rate model: totals (supply, supply shares, debt, debt shares), rate at
# target, seconds, and what it answers.
RATES = [
    (
        (1000000685119, 1000000068510957755, 950000685119, 949974651291676282),
        1094804956,
        604813,
        3527480730,
    ),
    (
        (1002029854160, 1000202615426831177, 152029854160, 151701658367633930),
        1771784557,
        2592007,
        233053202,
    ),
]


@pytest.mark.parametrize(("totals", "at_target", "elapsed", "rate"), RATES)
def test_the_rate_model_is_the_real_one(
    morpho: MorphoStage, totals: tuple[int, ...], at_target: int, elapsed: int, rate: int
) -> None:
    market, listed = next(iter(morpho.core.listed.items()))
    slot = "0x" + keccak(encode(["bytes32", "uint256"], [market, 0])).hex()
    word = "0x" + at_target.to_bytes(32).hex()
    with morpho.undone():
        morpho.node.rpc("anvil_setStorageAt", listed.params.irm, slot, word)
        morpho.node.mine()
        data = bytes.fromhex("8c00bf6b") + encode(  # borrowRateView
            ["(address,address,address,address,uint256)", "uint128[6]"],
            [listed.params.row, [*totals, morpho.node.time - elapsed, 0]],
        )
        answer = morpho.node.call(listed.params.irm, data)

    assert decode(["uint256"], answer) == (rate,)


# -- how life goes on ---------------------------------------------------------------------------


def test_the_same_seed_makes_the_same_chain() -> None:
    digests = []
    for seed in (3, 3, 4):
        with Anvil() as anvil, Node(anvil.http) as node:
            stage = MorphoStage(node, seed, 20)
            for _ in range(5):
                stage.step()
            digests.append((stage.truth.digest(), stage.node.block()["hash"]))

    assert digests[0] == digests[1]
    assert digests[0][0] != digests[2][0]


def test_every_kind_of_thing_happens(lived: Lived) -> None:
    state = lived.stage.state

    assert {name for name in CHURN | OTHERS if not state.succeeded[name]} == REFUSED
    assert all(state.failed[name] for name in REFUSED)
    for kind in ("price", "dip", "recovery", "slide", "hand", "collapse", "new_market_borrow"):
        assert state.succeeded[kind], kind
    assert state.failed.total() < state.succeeded.total() // 8
    assert len(lived.stage.truth.markets()) == len(PLANS) + len(LATER)
    assert any(not one.borrow_shares for one in lived.stage.truth.at().values())


def test_the_books_balance_at_every_block(lived: Lived) -> None:
    assert lived.incomplete == []


def test_the_real_liquidate_agrees_about_everybody_near_the_limit(lived: Lived) -> None:
    assert lived.differences == []
    assert lived.judged[True] >= 50
    assert lived.judged[False] >= 50


def test_people_are_under_for_one_block_and_for_several(lived: Lived) -> None:
    streaks: Counter[int] = Counter()
    running: Counter[Key] = Counter()
    for under in lived.under.values():
        streaks.update(running.pop(key) for key in set(running) - under)
        running.update(under)

    assert streaks[1] >= 3
    assert sum(times for length, times in streaks.items() if length > 1) >= 10


def test_liquidations_leave_bad_debt_and_are_refused_with_the_healthy(lived: Lived) -> None:
    stage = lived.stage
    topic = blue("EventsLib").topic("Liquidate")
    logs = stage.node.logs(addresses=[stage.address], topics=[topic])
    rows = [decode(["uint256"] * 5, bytes_of(log["data"])) for log in logs]
    said = {k: n for k, n in stage.state.succeeded.items() if k.startswith("liqu")}

    assert len(rows) == sum(said.values()) + stage.state.succeeded["relief"]
    assert sum(bad_debt > 0 for _, _, _, bad_debt, _ in rows) >= said["liquidate_with_bad_debt"]


def test_interest_alone_brings_people_under(morpho: MorphoStage) -> None:
    with morpho.undone():
        before = set(morpho.truth.unhealthy())
        block = morpho.node.mine(7 * 86_400)
        after = set(morpho.truth.unhealthy(block))
        still = {m: one.price for m, one in morpho.truth.markets(block).items()}
        fallen = {key for key in after - before if still[key[0]] is not None}

        assert before < after
        assert all(morpho.truth.liquidatable(fallen, block).values())
        assert not any(map(any, morpho.truth.liquidatable(fallen, block - 1).values()))


def test_the_last_unit_of_a_price_decides(morpho: MorphoStage) -> None:
    """At the lowest price that bears the debt nobody liquidates; one less, and anybody may."""
    hand = {"0x" + m.hex() for m, one in morpho.core.listed.items() if one.plan.oracle == HAND}
    with morpho.undone():
        morpho.node.send(morpho.priced(HAND, 600 * PRICE_SCALE))
        block = morpho.node.mine()
        key = max((k for k in morpho.truth.health(block) if k[0] in hand), key=lambda k: k[1])
        for less, verdict in ((0, False), (1, True)):
            one = morpho.truth.at(block)[key]
            lltv = morpho.truth.params(block)[key[0]].lltv
            with morpho.undone():
                bearing = lowest_price(morpho, key, one.collateral, lltv)
                morpho.node.send(morpho.priced(HAND, bearing - less))
                at = morpho.node.mine(1)
                factor = morpho.truth.health(at)[key]

                assert factor is not None
                assert (factor < WAD) is verdict
                assert morpho.truth.liquidatable([key], at) == {key: (verdict, verdict)}


def lowest_price(stage: MorphoStage, key: Key, collateral: int, lltv: int) -> int:
    """Return the lowest price at which the collateral bears the debt of a block one second on."""
    with stage.undone():
        owed = stage.truth.at(stage.node.mine(1))[key].borrowed
    quoted = -(-owed * WAD // lltv)
    return -(-quoted * PRICE_SCALE // collateral)


# -- hostile markets ----------------------------------------------------------------------------

# What the contract makes of the oracle: (a factor is known, one share, one unit of collateral).
OUTCOMES = {
    "reverting": (False, False, False),
    "gas_burning": (False, False, False),
    "huge_answer": (True, False, False),  # the contract takes the first word of a megabyte
    "huge_revert": (False, False, False),
    "garbage": (False, False, False),
    "price_zero": (True, False, True),  # by shares it would divide by the price
    "price_above_128_bits": (True, False, False),
    "price_overflowing": (False, False, False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_markets_do_what_they_are_called(morpho: MorphoStage, kind: str) -> None:
    known, *verdict = OUTCOMES.get(kind, (True, False, False))
    with morpho.undone():
        market = "0x" + morpho.add_hostile(kind).hex()
        block = morpho.node.settle()
        health = {k: f for k, f in morpho.truth.health(block).items() if k[0] == market}
        standings = {k: one for k, one in morpho.truth.at(block).items() if k[0] == market}

        assert len(standings) == 3
        assert len(health) == 2
        assert [factor is not None for factor in health.values()] == [known] * 2
        judged = morpho.truth.liquidatable(health, block)
        assert set(judged.values()) == {tuple(verdict)}


@pytest.mark.parametrize("kind", ORACLES)
def test_a_hostile_oracle_was_honest_once(morpho: MorphoStage, kind: str) -> None:
    with morpho.undone():
        market = morpho.add_hostile(kind, turned=False)
        block = morpho.node.settle()
        seen = morpho.truth.markets(block)["0x" + market.hex()]

        assert seen.price == PRICE
        morpho.node.send(morpho.hostile[market].turn())
        turned = morpho.truth.markets(morpho.node.settle())["0x" + market.hex()]
        morpho.node.send(morpho.hostile[market].turn(honest=True))
        back = morpho.truth.markets(morpho.node.settle())["0x" + market.hex()]

        assert (turned.price == PRICE) is (kind in UNBOUNDED)
        assert back.price == PRICE


@pytest.mark.parametrize("kind", TOKENS)
def test_a_hostile_token_moves_but_does_not_tell_its_decimals(
    morpho: MorphoStage, kind: str
) -> None:
    with morpho.undone():
        hostile = morpho.hostile[morpho.add_hostile(kind)]
        morpho.node.settle()
        data = "0x" + keccak(text="decimals()")[:4].hex()
        request = {"to": hostile.params.collateral, "data": data, "gas": hex(10_000_000)}
        try:
            answer = bytes_of(morpho.node.rpc("eth_call", request, "latest"))
        except RpcError:
            answer = b""

        assert len(answer) != 32 or int.from_bytes(answer) > 255


def test_no_hostile_market_has_a_name_of_its_own(morpho: MorphoStage) -> None:
    with pytest.raises(ValueError, match="no hostile market is called friendly"):
        morpho.add_hostile("friendly")


# -- beside another protocol --------------------------------------------------------------------


def test_two_protocols_live_in_the_same_blocks(stage: Stage) -> None:
    morpho = MorphoStage(stage.node, stage.seed, 20)
    both = set(morpho.state.people.borrowers) & set(stage.population.everyone)
    aave_before, morpho_before = stage.truth.digest(), morpho.truth.digest()
    for _ in range(3):
        for transaction in morpho.act():
            stage.node.send(transaction)
        moment = stage.life.step(seconds=2)
        mine = morpho.mined(moment.number)

        assert mine.succeeded.total() >= 3
        assert moment.succeeded.total() >= 3
    assert both
    assert stage.truth.digest() != aave_before
    assert morpho.truth.digest() != morpho_before
    assert unbalanced(morpho, stage.node.number) == []


def test_life_goes_on_after_a_reorg() -> None:
    with Anvil() as anvil, Node(anvil.http) as node:
        stage = MorphoStage(node, SEED, 20)
        start = node.number
        while stage.state.succeeded["new_market"] == 0 or stage.state.succeeded["close"] == 0:
            stage.step()
        node.reorg(node.number - start)
        markets = len(stage.truth.markets())
        for _ in range(8):
            stage.step()

        assert markets == len(PLANS)
        assert unbalanced(stage, node.number) == []


def test_what_is_undone_leaves_no_trace(morpho: MorphoStage) -> None:
    before, kept = morpho.truth.digest(), morpho.state.remember()
    with morpho.undone():
        for _ in range(4):
            morpho.step()
        morpho.add_hostile("garbage")
        once = morpho.truth.digest()

        assert once != before
        assert morpho.state.steps > kept.steps
    assert morpho.truth.digest() == before
    assert morpho.hostile == {}
    assert vars(morpho.state.people) == vars(kept.people)
    with morpho.undone():
        for _ in range(4):
            morpho.step()
        assert morpho.truth.digest() == once
