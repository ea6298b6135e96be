"""The JSON in Redis is that of the `Position`, byte for byte, whichever way it is written."""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera.domain.block import Address
from chimera.domain.health import CollateralLeg, DebtLeg, Health, Valuation
from chimera.domain.market import Account
from chimera.domain.numeric import WAD, Wad
from chimera.state.encoding import encoded
from chimera.state.valuation import Draft, Finished, largest
from tests.fakes_state import ALICE, USDC, WETH, FakeAdapter, FakeMarket, account, first_block

SEARCHED = settings(max_examples=300, deadline=None, derandomize=True)

AMOUNTS = st.sampled_from([0, 1, 10**8 - 1, 10**8, 2**53 + 1]) | st.integers(0, 2**256 - 1)
ADDRESSES = st.sampled_from([WETH, USDC]) | st.binary(min_size=20, max_size=20).map(Address)
TEXTS = st.text(max_size=9) | st.sampled_from(["WETH", 'a"b', "a\\b", "a\nb\x00\x7f", "\u2028€𝄞"])
DECIMALS = st.sampled_from(["0", "0.83", "1", "0.825000000000000001"])
COLLATERAL = st.builds(CollateralLeg, ADDRESSES, TEXTS, AMOUNTS, AMOUNTS, DECIMALS, st.booleans())
DEBTS = st.builds(DebtLeg, ADDRESSES, TEXTS, AMOUNTS, AMOUNTS)
HEALTHS = st.builds(
    Health,
    st.none() | st.integers(0, 2**256 - 1).map(Wad) | st.sampled_from([0, 1, WAD]).map(Wad),
    AMOUNTS,
    AMOUNTS,
    DECIMALS,
    st.none() | TEXTS,
)
VALUATIONS = st.builds(
    Valuation,
    HEALTHS,
    st.lists(COLLATERAL, max_size=4).map(tuple),
    st.lists(DEBTS, max_size=4).map(tuple),
    TEXTS,
    st.sampled_from([0, 6, 8, 18, 36]),
)

RECORDED = (
    b'{"block":100,"protocol":"fake","user":"0x000000000000000000000000000000000000000A",'
    b'"health_factor":"1.600000000000000000",'
    b'"collateral_asset":"0x00000000000000000000000000000000000000e1",'
    b'"debt_asset":"0x00000000000000000000000000000000000000C1","collateral_amount":100,'
    b'"debt_amount":100000,"liquidation_threshold":"0.8","last_update_block":90,'
    b'"blocks_unhealthy":3,"collateral":[{"asset":"0x00000000000000000000000000000000000000e1",'
    b'"symbol":"C","amount":100,"value":"0.00200000","liquidation_threshold":"0.8",'
    b'"enabled":true}],"debt":[{"asset":"0x00000000000000000000000000000000000000C1",'
    b'"symbol":"D","amount":100000,"value":"0.00100000"}],"base_currency":"USD","error":null,'
    b'"version":1}'
)


@dataclass(slots=True)
class Appraiser(FakeAdapter):
    """Values every account as it was told to."""

    valuation: Valuation | None = None

    def value(self, market: FakeMarket, account: Account, timestamp: int) -> Valuation:
        return self.valuation or FakeAdapter.value(self, market, account, timestamp)


def draft(adapter: FakeAdapter, *, unhealthy: int = 0) -> Draft:
    alice = account({WETH: 100}, {USDC: 100_000}).but(updated_block=90)
    market = FakeMarket({WETH: 2_000, USDC: 1})
    return Draft(adapter, ALICE, alice, market, first_block(), unhealthy)


def test_a_draft_is_written_as_it_was_recorded() -> None:
    name = "position:fake:0x000000000000000000000000000000000000000A"

    assert encoded(draft(FakeAdapter(), unhealthy=3)) == (name, RECORDED)


@SEARCHED
@given(valuation=VALUATIONS, protocol=TEXTS, unhealthy=st.integers(0, 10**6))
def test_a_draft_is_written_as_the_position_that_it_makes(
    valuation: Valuation, protocol: str, unhealthy: int
) -> None:
    made = draft(Appraiser(name=protocol, valuation=valuation), unhealthy=unhealthy)

    position = made.position()
    name, document = encoded(made)

    assert document == msgspec.json.encode(position)
    assert (name, document) == (made.name, document) == encoded(Finished(position))
    assert json.loads(document) == json.loads(json.dumps(position.document()))
    assert b"\n" not in document  # where the script parts one document from the next


def test_the_first_of_the_largest_legs_gives_its_name() -> None:
    legs = [DebtLeg(WETH, "a", 1, 5), DebtLeg(USDC, "b", 2, 7), DebtLeg(WETH, "c", 3, 7)]

    assert largest(legs) is legs[1]
    assert largest([]) is None
