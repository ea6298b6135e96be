"""Grids of calls: read in one piece where all is plain, and else as any other calls."""

from __future__ import annotations

from hashlib import sha256

import pytest
from eth_abi import abi
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.block import Address
from chimera.domain.call import Call, Grid, Words
from chimera.rpc.faults import Garbled
from chimera.rpc.multicall import (
    Multicall,
    aggregate3_text,
    decode_results,
    decode_words,
    encode_aggregate3,
)
from chimera.rpc.wire import hexed
from tests.fakes_chain import ScriptedClient
from tests.unit.test_rpc_multicall import BLOCK, FakeNode

DEAD = b"\xde\xad"

addresses = st.binary(min_size=20, max_size=20).map(Address)
questions = st.integers(0, 70).flatmap(
    lambda size: st.lists(
        st.builds(Call, addresses, st.binary(min_size=size, max_size=size)), min_size=1, max_size=5
    )
)
arguments = st.lists(st.binary(min_size=32, max_size=32), max_size=6)
grids = st.builds(Grid, questions, arguments)


class WordNode(FakeNode):
    """Answers each call with one word; with two words to calls that begin with 0x22."""

    def _inner(self, data: bytes) -> tuple[bool, bytes]:
        succeeded, answer = super()._inner(data)
        return succeeded, self.answer(data) if succeeded else answer

    def answer(self, data: bytes) -> bytes:
        return sha256(data).digest() * (2 if data[:1] == b"\x22" else 1)

    def _single(self, data: bytes) -> dict[str, object]:
        found = super()._single(data)
        return {"result": f"0x{self.answer(data).hex()}"} if "result" in found else found


def grid(*selectors: int, rows: int = 5) -> Grid:
    target = Address(b"\x01" * 20)
    wanted = [Call(target, number.to_bytes(4, "big")) for number in selectors]
    return Grid(wanted, [number.to_bytes(32, "big") for number in range(rows)])


PLAIN = grid(1, 2, 3)
SELECTORS = {"reverts": 0xDEAD0000, "long": 0x22000000}
DEAF = list(PLAIN)[7].data


@given(grids)
def test_a_grid_is_the_sequence_of_its_calls(grid: Grid) -> None:
    calls = [
        Call(question.to, question.data + argument)
        for argument in grid.arguments
        for question in grid.questions
    ]

    assert list(grid) == calls
    assert len(grid) == len(calls)
    assert [grid[place] for place in range(-len(calls), len(calls))] == calls * 2
    assert grid[1:4] == calls[1:4]
    with pytest.raises(IndexError):
        grid[len(calls)]
    assert list(grid.rows(1, 3)) == calls[len(grid.questions) : 3 * len(grid.questions)]


def test_what_is_no_grid_is_refused() -> None:
    target = Address(b"\x01" * 20)

    with pytest.raises(ValueError, match="different lengths"):
        Grid([Call(target, b"1"), Call(target, b"22")], [])
    with pytest.raises(ValueError, match="no word"):
        Grid([Call(target, b"1")], [b"short"])


def test_words_are_the_answers_to_their_calls() -> None:
    content = [number.to_bytes(32, "big") for number in range(len(PLAIN))]

    words = Words(PLAIN, b"".join(content))

    assert dict(words) == dict(zip(PLAIN, content, strict=True))
    assert len(words) == len(PLAIN)
    assert words[PLAIN[4]] == content[4]


@given(grids)
def test_a_grid_is_written_as_its_calls_are(grid: Grid) -> None:
    assert aggregate3_text(grid) == hexed(encode_aggregate3(list(grid)))
    assert aggregate3_text(list(grid)) == aggregate3_text(grid)


@given(
    st.lists(
        st.tuples(st.booleans(), st.binary(max_size=70))
        | st.tuples(st.just(value=True), st.binary(min_size=32, max_size=32)),
        max_size=6,
    )
)
def test_only_plain_words_are_read_in_one_piece(results: list[tuple[bool, bytes]]) -> None:
    found = decode_words(abi.encode(["(bool,bytes)[]"], [results]), len(results))

    plain = all(succeeded and len(answer) == 32 for succeeded, answer in results)
    assert found == (b"".join(answer for _, answer in results) if plain else None)


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=4), st.data())
def test_a_byte_that_is_otherwise_is_read_otherwise_or_not_in_one_piece(
    answers: list[bytes], draw: st.DataObject
) -> None:
    whole = abi.encode(["(bool,bytes)[]"], [[(True, answer) for answer in answers]])
    place = draw.draw(st.integers(0, len(whole) - 1))
    other = whole[:place] + bytes([whole[place] ^ draw.draw(st.integers(1, 255))])
    other += whole[place + 1 :] if draw.draw(st.booleans()) else b""

    found = decode_words(other, len(answers))

    if found is not None:
        results = decode_results(other, len(answers))
        assert results == [(True, found[at : at + 32]) for at in range(0, len(found), 32)]
    assert decode_words(whole, len(answers) + 1) is None


async def test_a_plain_grid_is_one_request_and_its_answers_are_words() -> None:
    client = ScriptedClient(WordNode())

    found = await Multicall(client).read(PLAIN, BLOCK, purpose="bootstrap")

    assert isinstance(found, Words)
    assert found.grid is PLAIN  # by which it is known whose words they are
    assert found.content == b"".join(sha256(call.data).digest() for call in PLAIN)
    assert len(client.bodies) == 1


@pytest.mark.parametrize("hashes", [True, False], ids=["by hash", "by number"])
@pytest.mark.parametrize("multicall", [True, False], ids=["Multicall3", "none"])
@pytest.mark.parametrize("most", [1_000, 4, 1])
@pytest.mark.parametrize("most_calls", [500, 7, 2])
@pytest.mark.parametrize("odd", ["plain", "reverts", "long", "silent"])
async def test_a_grid_has_the_answers_of_its_calls(
    odd: str,
    most_calls: int,
    most: int,
    *,
    multicall: bool,
    hashes: bool,
) -> None:
    wanted = grid(1, SELECTORS.get(odd, 2), 3)

    def reader() -> Multicall:
        node = WordNode(most=most, multicall=multicall, hashes=hashes)
        node.silent_failures = {DEAF} if odd == "silent" else set()
        return Multicall(ScriptedClient(node), max_calls=most_calls)

    found = await reader().read(wanted, BLOCK, purpose="bootstrap")
    expected = await reader().read(list(wanted), BLOCK, purpose="bootstrap")

    assert dict(found) == expected
    assert list(found) == list(wanted)
    assert (None in expected.values()) == (odd == "reverts")


async def test_a_grid_is_cut_between_rows_by_number_and_by_size() -> None:
    node = WordNode()

    await Multicall(ScriptedClient(node), max_calls=7).read(PLAIN, BLOCK, purpose="bootstrap")
    assert node.sizes == [6, 6, 3]
    node.sizes.clear()
    await Multicall(ScriptedClient(node), max_data=1_300).read(PLAIN, BLOCK, purpose="bootstrap")
    assert node.sizes == [6, 6, 3]


async def test_chunks_of_rows_shrink_and_grow_again() -> None:
    node = WordNode(most=5)
    multicall = Multicall(ScriptedClient(node), max_calls=12)
    await multicall.read(PLAIN, BLOCK, purpose="bootstrap")
    assert max(node.sizes) == 12
    node.sizes.clear()
    await multicall.read(PLAIN, BLOCK, purpose="bootstrap")
    assert node.sizes == [3] * 5

    node.most = 1_000
    for _ in range(5):
        await multicall.read(PLAIN, BLOCK, purpose="bootstrap")

    assert node.sizes[-2:] == [12, 3]


async def test_an_answer_to_a_grid_that_is_cut_short_is_garbled() -> None:
    class Cut(WordNode):
        def _answer(self, request: dict[str, object]) -> dict[str, object]:
            return {"result": str(super()._answer(request)["result"])[:-64]}

    with pytest.raises(Garbled):
        await Multicall(ScriptedClient(Cut())).read(PLAIN, BLOCK, purpose="bootstrap")


async def test_a_grid_of_one_call_or_of_none() -> None:
    multicall = Multicall(ScriptedClient(WordNode()))
    one = grid(1, rows=1)

    assert dict(await multicall.read(one, BLOCK, purpose="bootstrap")) == {
        one[0]: sha256(one[0].data).digest()
    }
    assert dict(await multicall.read(grid(1, rows=0), BLOCK, purpose="bootstrap")) == {}
