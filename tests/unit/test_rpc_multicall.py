"""Multicall3: the codec against eth_abi, and what happens when a chunk fails."""

from typing import Any

import msgspec
import pytest
from eth_abi import abi
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.block import Address, Block, BlockHash
from chimera.domain.call import BoundedCall, Call, Slot
from chimera.errors import Retry
from chimera.rpc.faults import Garbled, NodeError, Reverted, TimedOut, UnknownBlock, fault_of
from chimera.rpc.multicall import AGGREGATE3, Multicall, decode_results, encode_aggregate3
from chimera.rpc.wire import hexed, octets
from tests.fakes_chain import ScriptedClient, answering

BLOCK = Block(7, BlockHash(b"\x07" * 32), BlockHash(b"\x06" * 32), 1_000)
addresses = st.binary(min_size=20, max_size=20).map(Address)
calls = st.builds(Call, addresses, st.binary(max_size=100))


def call(number: int) -> Call:
    return Call(Address(b"\x01" * 20), number.to_bytes(4, "big"))


@given(st.lists(calls, max_size=12))
def test_the_encoder_agrees_with_eth_abi(wanted: list[Call]) -> None:
    expected = abi.encode(
        ["(address,bool,bytes)[]"], [[(one.to, True, one.data) for one in wanted]]
    )

    assert encode_aggregate3(wanted) == AGGREGATE3 + expected


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=100)), max_size=12))
def test_the_decoder_agrees_with_eth_abi(results: list[tuple[bool, bytes]]) -> None:
    assert decode_results(abi.encode(["(bool,bytes)[]"], [results]), len(results)) == results


@given(st.binary(max_size=400), st.integers(0, 5))
def test_garbage_is_never_a_traceback(data: bytes, count: int) -> None:
    try:
        results = decode_results(data, count)
    except Retry:
        results = [(False, b"")] * count

    assert len(results) == count


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=40)), min_size=1))
def test_an_answer_cut_short_is_noticed(results: list[tuple[bool, bytes]]) -> None:
    whole = abi.encode(["(bool,bytes)[]"], [results])

    with pytest.raises(Garbled):
        decode_results(whole[:-32], len(results))


class FakeNode:
    """Answers `eth_call`, aggregate3 included. Call data 0xdead.. reverts, 0xgas is greedy."""

    def __init__(self, *, most: int = 1_000, multicall: bool = True, hashes: bool = True) -> None:
        self.most, self.multicall, self.hashes = most, multicall, hashes
        self.silent_failures: set[bytes] = set()
        self.block_hash = hexed(BLOCK.hash)
        self.sizes: list[int] = []

    def __call__(self, requests: list[dict[str, Any]]) -> tuple[int, bytes]:

        answers = [{"id": one["id"], **self._answer(one)} for one in requests]
        return 200, msgspec.json.encode(answers if len(answers) > 1 else answers[0])

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["method"] == "eth_getBlockByNumber":
            words = {"number": "0x7", "hash": self.block_hash, "parentHash": hexed(b"\x06" * 32)}
            return {"result": {**words, "timestamp": "0x1"}}
        data, at = octets(request["params"][0]["data"]), request["params"][1]
        if isinstance(at, dict) and not self.hashes:
            return {"error": {"code": -32602, "message": "invalid argument 1: expected a string"}}
        if data[:4] != AGGREGATE3:
            return self._single(data)
        if not self.multicall:
            return {"result": "0x"}
        [inner] = abi.decode(["(address,bool,bytes)[]"], data[4:])
        self.sizes.append(len(inner))
        if len(inner) > self.most:
            return {"error": {"code": -32603, "message": "EVM error OutOfGas"}}
        results = [self._inner(one) for _, _, one in inner]
        return {"result": hexed(abi.encode(["(bool,bytes)[]"], [results]))}

    def _inner(self, data: bytes) -> tuple[bool, bytes]:
        if data in self.silent_failures:
            return False, b""
        return (False, b"why") if data[:2] == b"\xde\xad" else (True, data)

    def _single(self, data: bytes) -> dict[str, Any]:
        if data[:2] == b"\xde\xad":
            return {"error": {"code": 3, "message": "execution reverted", "data": "0x"}}
        return {"result": hexed(data)}


async def test_all_calls_go_out_as_one_request_pinned_to_the_hash() -> None:
    client = ScriptedClient(FakeNode())

    readings = await Multicall(client).read([call(1), call(2), call(1)], BLOCK, purpose="readings")

    assert readings == {call(1): call(1).data, call(2): call(2).data}
    [[request]] = client.bodies
    assert request["params"][1] == {"blockHash": hexed(BLOCK.hash)}


async def test_a_call_that_reverts_is_none_and_harms_no_other() -> None:
    dead = Call(Address(b"\x01" * 20), b"\xde\xad")

    readings = await Multicall(ScriptedClient(FakeNode())).read(
        [call(1), dead], BLOCK, purpose="readings"
    )

    assert readings == {call(1): call(1).data, dead: None}


async def test_a_call_that_failed_without_a_word_is_asked_again_alone() -> None:
    node = FakeNode()
    node.silent_failures = {call(2).data}

    readings = await Multicall(ScriptedClient(node)).read(
        [call(1), call(2)], BLOCK, purpose="readings"
    )

    assert readings[call(2)] == call(2).data


async def test_a_chunk_that_runs_out_of_gas_is_halved_until_it_fits() -> None:
    node = FakeNode(most=3)
    wanted = [call(number) for number in range(10)]

    readings = await Multicall(ScriptedClient(node)).read(wanted, BLOCK, purpose="bootstrap")

    assert readings == {one: one.data for one in wanted}
    assert node.sizes[0] == 10
    assert max(node.sizes[-2:]) <= 3


async def test_what_was_learned_about_the_chunk_size_is_kept() -> None:
    node = FakeNode(most=5)
    multicall = Multicall(ScriptedClient(node))
    wanted = [call(number) for number in range(10)]
    await multicall.read(wanted, BLOCK, purpose="bootstrap")
    node.sizes.clear()

    await multicall.read(wanted[:6], BLOCK, purpose="bootstrap")

    assert 10 not in node.sizes
    assert sum(size for size in node.sizes if size <= 5) == 6


async def test_calls_are_split_by_number_and_by_size() -> None:
    node = FakeNode()
    wanted = [call(number) for number in range(7)]

    await Multicall(ScriptedClient(node), max_calls=3).read(wanted, BLOCK, purpose="bootstrap")
    await Multicall(ScriptedClient(node), max_data=400).read(wanted, BLOCK, purpose="bootstrap")

    assert sorted(node.sizes[:3]) == [1, 3, 3]
    assert sorted(node.sizes[3:]) == [1, 2, 2, 2]


async def test_without_multicall_the_calls_go_out_as_a_batch() -> None:
    client = ScriptedClient(FakeNode(multicall=False))
    multicall = Multicall(client)
    dead = Call(Address(b"\x01" * 20), b"\xde\xad")

    first = await multicall.read([call(1), dead], BLOCK, purpose="readings")
    second = await multicall.read([call(3), call(4)], BLOCK, purpose="readings")

    assert first == {call(1): call(1).data, dead: None}
    assert second == {call(3): call(3).data, call(4): call(4).data}
    assert [len(body) for body in client.bodies] == [1, 2, 2]


async def test_an_address_without_code_answers_nothing() -> None:
    nowhere = Call(Address(b"\x09" * 20), b"")

    readings = await Multicall(ScriptedClient(FakeNode())).read(
        [nowhere, call(1)], BLOCK, purpose="readings"
    )

    assert readings[nowhere] == b""


async def test_a_node_that_refuses_hashes_is_asked_by_number_and_checked() -> None:
    client = ScriptedClient(FakeNode(hashes=False))

    readings = await Multicall(client).read([call(1), call(2)], BLOCK, purpose="readings")

    assert readings[call(1)] == call(1).data
    assert [body[0]["method"] for body in client.bodies] == [
        "eth_call",
        "eth_call",
        "eth_getBlockByNumber",
    ]
    assert client.bodies[1][0]["params"][1] == "0x7"


async def test_a_number_that_changed_its_hash_while_it_was_read_is_no_answer() -> None:
    node = FakeNode(hashes=False)
    node.block_hash = hexed(b"\x08" * 32)

    with pytest.raises(UnknownBlock):
        await Multicall(ScriptedClient(node)).read([call(1), call(2)], BLOCK, purpose="readings")


async def test_an_unknown_block_is_never_mistaken_for_a_revert() -> None:
    def lost(_requests: list[dict[str, Any]]) -> Exception:
        return fault_of(NodeError(-32001, "Resource not found"), "eth_call")

    with pytest.raises(UnknownBlock):
        await Multicall(ScriptedClient(lost)).read([call(1)], BLOCK, purpose="readings")


async def test_no_calls_make_no_request() -> None:
    client = ScriptedClient(answering(lambda _method, _params: "0x"))

    assert await Multicall(client).read([], BLOCK, purpose="readings") == {}
    assert client.bodies == []


def test_a_revert_is_told_from_other_errors_of_a_call() -> None:
    assert isinstance(fault_of(NodeError(3, "execution reverted: 51"), "eth_call"), Reverted)
    assert isinstance(fault_of(NodeError(-32000, "out of gas"), "eth_call"), Reverted)


# --- what must not ride with the others ----------------------------------------------------------


def odd_node(requests: list[dict[str, Any]]) -> tuple[int, bytes]:
    """Storage words are the slot's last byte; 0xb0 answers a lot, 0xdead reverts."""
    answers = []
    for one in requests:
        to_or_call = one["params"][0]
        if one["method"] == "eth_getStorageAt":
            answers.append({"id": one["id"], "result": f"0x{one['params'][1][-2:]}"})
        elif octets(to_or_call["data"])[:4] == AGGREGATE3:
            [inner] = abi.decode(["(address,bool,bytes)[]"], octets(to_or_call["data"])[4:])
            results = abi.encode(["(bool,bytes)[]"], [[(True, data) for _, _, data in inner]])
            answers.append({"id": one["id"], "result": hexed(results)})
        elif octets(to_or_call["data"])[:2] == b"\xde\xad":
            error = {"code": -32003, "message": "out of gas"}
            answers.append({"id": one["id"], "error": error})
        else:
            size = 4096 + (octets(to_or_call["data"])[0] == 0xB0)
            answers.append({"id": one["id"], "result": hexed(bytes(size))})
    return 200, msgspec.json.encode(answers if len(answers) > 1 else answers[0])


async def test_words_of_storage_are_read_at_the_block_and_padded() -> None:
    client = ScriptedClient(odd_node)
    slots = [Slot(Address(b"\x01" * 20), number.to_bytes(32, "big")) for number in (7, 8)]

    readings = await Multicall(client).read([*slots, call(1), call(2)], BLOCK, purpose="bootstrap")

    assert [readings[slot] for slot in slots] == [bytes(31) + b"\x07", bytes(31) + b"\x08"]
    assert readings[call(1)] == call(1).data
    asked = next(body for body in client.bodies if body[0]["method"] == "eth_getStorageAt")
    assert {one["params"][2]["blockHash"] for one in asked} == {hexed(BLOCK.hash)}


async def test_a_bounded_call_is_made_alone_with_its_gas_and_its_answer_is_bounded() -> None:
    client = ScriptedClient(odd_node)
    target = Address(b"\x01" * 20)
    fine, huge, greedy = (
        BoundedCall(target, data, gas=5_000) for data in (b"\x01", b"\xb0", b"\xde\xad")
    )

    readings = await Multicall(client).read(
        [fine, huge, greedy, call(1), call(2)], BLOCK, purpose="readings"
    )

    assert readings[fine] == bytes(4096)
    assert readings[huge] is readings[greedy] is None
    joint, alone = sorted(client.bodies, key=len)
    assert len(joint) == 1
    assert [one["params"][0]["gas"] for one in alone] == ["0x1388"] * 3


async def test_many_lonely_calls_are_cut_into_batches() -> None:
    client = ScriptedClient(odd_node)
    slots = [Slot(Address(b"\x01" * 20), number.to_bytes(32, "big")) for number in range(7)]

    readings = await Multicall(client, max_calls=3).read(slots, BLOCK, purpose="bootstrap")

    assert len(readings) == 7
    assert sorted(len(body) for body in client.bodies) == [1, 3, 3]


def test_questions_of_another_kind_are_other_questions() -> None:
    target, data = Address(b"\x01" * 20), bytes(32)

    assert len({Call(target, data), Slot(target, data), BoundedCall(target, data)}) == 3


async def test_one_call_that_never_ends_costs_its_own_answer_and_no_other() -> None:
    """A node without a limit of its own: the joint request takes too long, then each has one."""
    endless = Call(Address(b"\x01" * 20), b"\xde\xad")

    def node(requests: list[dict[str, Any]]) -> Any:  # noqa: ANN401
        wanted = [one["params"][0] for one in requests]
        if any("gas" not in one for one in wanted):
            return TimedOut("no answer within 5 s")
        return odd_node(requests)

    client = ScriptedClient(node)

    readings = await Multicall(client).read([call(1), endless], BLOCK, purpose="readings")

    assert readings == {call(1): bytes(4096), endless: None}
    assert [one["params"][0]["gas"] for one in client.bodies[-1]] == [hex(30_000_000)] * 2


async def test_calls_that_starve_in_a_chunk_make_the_next_one_smaller() -> None:
    node = FakeNode()
    wanted = [call(number) for number in range(10)]
    node.silent_failures = {one.data for one in wanted[6:]}
    client = ScriptedClient(node)
    multicall = Multicall(client)

    readings = await multicall.read(wanted, BLOCK, purpose="readings")
    node.silent_failures = set()
    await multicall.read(wanted, BLOCK, purpose="readings")

    assert readings == {one: one.data for one in wanted}
    assert node.sizes[0] == 10
    assert sorted(node.sizes[1:]) == [4, 6]


async def test_a_call_that_fails_by_itself_leaves_the_chunks_as_they_are() -> None:
    node = FakeNode()
    dead = Call(Address(b"\x01" * 20), b"\xde\xad")
    node.silent_failures = {dead.data}
    multicall = Multicall(ScriptedClient(node))

    for _ in range(2):
        await multicall.read([call(1), call(2), dead], BLOCK, purpose="readings")

    assert node.sizes == [3, 3]
