"""Values as JSON and back, by their types alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.block import Address
from chimera.domain.market import Account
from chimera.protocols.aave_v3.engine import ENGINES, V3_6, Engine
from chimera.registry import BUILT_IN
from chimera.replay.codec import canonical, fingerprint, shape_of


class Row(NamedTuple):
    left: int
    right: str | None


@dataclass(frozen=True, slots=True)
class Everything:
    ratio: tuple[int, bytes]
    names: frozenset[bytes]
    kind: Literal["one", "two"] = "one"
    rows: Mapping[int, Row] = field(default_factory=dict)
    places: tuple[Address, ...] = ()
    remembered: dict[str, str] = field(default_factory=dict, init=False, compare=False)


integers = st.integers(-(2**256), 2**256)
everything = st.builds(
    Everything,
    ratio=st.tuples(integers, st.binary()),
    names=st.frozensets(st.binary(max_size=4)),
    kind=st.sampled_from(["one", "two"]),
    rows=st.dictionaries(integers, st.builds(Row, integers, st.none() | st.text())),
    places=st.lists(st.binary(min_size=20, max_size=20)).map(tuple),
)


@given(everything)
def test_a_value_comes_back_from_json(value: Everything) -> None:
    shape = shape_of(Everything)

    assert shape.read(json.loads(json.dumps(shape.write(value)))) == value


@given(st.dictionaries(st.binary(max_size=3), integers), st.randoms())
def test_the_order_of_a_mapping_does_not_show_in_canonical_json(
    held: dict[bytes, int],
    chance: Any,  # noqa: ANN401
) -> None:
    items = list(held.items())
    chance.shuffle(items)
    shape = shape_of(Mapping[bytes, int])

    assert canonical(shape.write(dict(items))) == canonical(shape.write(held))


def test_every_family_keeps_its_market_in_a_shape_that_can_be_recorded() -> None:
    names = set()
    for family in BUILT_IN.values():
        inquiry = get_type_hints(family.load().read_market)["return"]
        names.add(shape_of(get_args(inquiry)[-1]).name.partition("(")[0])

    assert names == {"AaveMarket", "CompoundMarket", "CometMarket", "MorphoMarket"}


def test_the_arithmetic_of_a_revision_is_written_by_its_name() -> None:
    shape = shape_of(Engine)

    assert shape.write(V3_6) == "V3_6"
    assert all(shape.read(shape.write(engine)) is engine for engine in ENGINES.values())
    with pytest.raises(TypeError, match="no name"):
        shape.write(replace(V3_6, version="nobody's"))


def test_what_equals_its_default_is_left_out() -> None:
    assert shape_of(Account).write(Account(mode=3)) == {"mode": 3}


def test_another_field_is_another_fingerprint() -> None:
    @dataclass
    class Before:
        one: int

    @dataclass
    class After:
        one: int | None

    assert len({fingerprint(Before), fingerprint(After), fingerprint(Before, After)}) == 3


@pytest.mark.parametrize("hint", [object, int | str, Mapping[tuple[int, int], int], Callable])
def test_a_type_without_a_shape_is_refused(hint: object) -> None:
    with pytest.raises(TypeError):
        shape_of(hint)
