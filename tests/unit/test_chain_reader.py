"""The reader: what goes out, and how answers become domain values or clear faults."""

from typing import Any

import msgspec
import pytest

from chimera.chain.reader import RpcReader
from chimera.domain.block import Address, Block, BlockHash, LogQuery
from chimera.errors import RangeTooWide, Retry
from chimera.rpc.faults import Garbled, TimedOut, UnknownBlock
from chimera.rpc.wire import hexed
from tests.fakes_chain import POOL, TOKEN, TOPIC, ScriptedClient, answering, refusing

HASH, PARENT = b"\x07" * 32, b"\x06" * 32
BLOCK = Block(7, BlockHash(HASH), BlockHash(PARENT), 1_000)
HEADER = {
    "number": "0x7",
    "hash": hexed(HASH),
    "parentHash": hexed(PARENT),
    "timestamp": "0x3e8",
    "transactions": [hexed(HASH)],
}
QUERY = LogQuery(frozenset({TOKEN, POOL}), frozenset({TOPIC}))


def wire_log(index: int, **changes: object) -> dict[str, Any]:
    fields = {
        "address": hexed(POOL),
        "topics": [hexed(TOPIC), hexed(HASH)],
        "data": "0xabcd",
        "blockNumber": "0x7",
        "blockHash": hexed(HASH),
        "logIndex": hex(index),
        "transactionHash": hexed(HASH),
    }
    return {**fields, **changes}


def reader_of(result: object) -> tuple[RpcReader, ScriptedClient]:
    client = ScriptedClient(answering(lambda _method, _params: result), attempts=1)
    return RpcReader(client), client


def asked(client: ScriptedClient) -> list[tuple[str, Any]]:
    return [(one["method"], one["params"]) for body in client.bodies for one in body]


async def test_a_header_becomes_a_block() -> None:
    reader, client = reader_of(HEADER)

    assert await reader.head() == BLOCK
    assert await reader.block_at(7) == BLOCK
    assert await reader.block_of(BLOCK.hash) == BLOCK
    assert asked(client) == [
        ("eth_getBlockByNumber", ["latest", False]),
        ("eth_getBlockByNumber", ["0x7", False]),
        ("eth_getBlockByHash", [hexed(HASH), False]),
    ]


async def test_a_block_that_is_not_there_is_none() -> None:
    reader, _ = reader_of(None)

    assert await reader.block_at(7) is None
    assert await reader.block_of(BLOCK.hash) is None
    with pytest.raises(Retry):
        await reader.head()


async def test_a_node_that_says_so_by_an_error_means_the_same() -> None:
    reader = RpcReader(ScriptedClient(refusing(-32000, "block not found"), attempts=1))

    assert await reader.block_at(7) is None


async def test_another_block_than_the_one_asked_for_is_refused() -> None:
    reader, _ = reader_of(HEADER)

    with pytest.raises(Garbled):
        await reader.block_at(8)
    with pytest.raises(Garbled):
        await reader.block_of(BlockHash(PARENT))


@pytest.mark.parametrize(
    "header",
    [
        {**HEADER, "number": None},
        {**HEADER, "hash": "0x07"},
        {**HEADER, "parentHash": "0xzz"},
        {**HEADER, "timestamp": "soon"},
        {"number": "0x7"},
        "0x",
        [],
    ],
)
async def test_a_header_that_is_none_is_a_fault_and_no_traceback(header: object) -> None:
    reader, _ = reader_of(header)

    with pytest.raises(Garbled):
        await reader.head()


async def test_logs_are_asked_for_by_the_hash_of_the_block() -> None:
    reader, client = reader_of([wire_log(2), wire_log(1)])

    logs = await reader.logs_of(BLOCK, QUERY)

    assert [log.log_index for log in logs] == [1, 2]
    assert logs[0].topics == (TOPIC, HASH)
    assert (logs[0].address, logs[0].data, logs[0].block_number) == (POOL, b"\xab\xcd", 7)
    wanted = {"address": [hexed(POOL), hexed(TOKEN)], "topics": [[hexed(TOPIC)]]}
    assert asked(client) == [("eth_getLogs", [{"blockHash": hexed(HASH), **wanted}])]


async def test_logs_that_were_not_asked_for_are_left_out() -> None:
    strangers = [wire_log(3, address=hexed(bytes(20))), wire_log(4, topics=[])]
    reader, _ = reader_of([*strangers, wire_log(5)])

    assert [log.log_index for log in await reader.logs_of(BLOCK, QUERY)] == [5]


async def test_logs_of_another_block_are_a_fault_of_the_node() -> None:
    reader, _ = reader_of([wire_log(1), wire_log(2, blockHash=hexed(PARENT))])

    with pytest.raises(Garbled):
        await reader.logs_of(BLOCK, QUERY)


@pytest.mark.parametrize(
    "changes",
    [{"address": "0x01"}, {"topics": ["0x01"]}, {"data": "0xabc"}, {"logIndex": None}],
)
async def test_a_log_that_is_none_is_a_fault_and_no_traceback(changes: dict[str, Any]) -> None:
    reader, _ = reader_of([wire_log(1, **changes)])

    with pytest.raises(Garbled):
        await reader.logs_of(BLOCK, QUERY)


async def test_nothing_to_follow_is_no_request() -> None:
    reader, client = reader_of([])

    assert await reader.logs_of(BLOCK, LogQuery(frozenset(), frozenset({TOPIC}))) == ()
    assert await reader.logs_between(1, 2, LogQuery(frozenset({POOL}), frozenset())) == ()
    assert client.bodies == []


async def test_logs_of_a_range_come_in_the_order_of_the_chain() -> None:
    later = wire_log(0, blockNumber="0x8", blockHash=hexed(PARENT))
    reader, client = reader_of([later, wire_log(1)])

    logs = await reader.logs_between(7, 8, QUERY)

    assert [(log.block_number, log.log_index) for log in logs] == [(7, 1), (8, 0)]
    [(_, [where])] = asked(client)
    assert (where["fromBlock"], where["toBlock"]) == ("0x7", "0x8")


async def test_a_range_that_takes_too_long_is_too_wide() -> None:
    reader = RpcReader(ScriptedClient(lambda _requests: TimedOut("no answer"), attempts=1))

    with pytest.raises(RangeTooWide):
        await reader.logs_between(1, 2_000, QUERY)


async def test_logs_of_a_block_that_left_the_chain_are_not_an_empty_answer() -> None:
    reader = RpcReader(ScriptedClient(refusing(-32000, "unknown block"), attempts=1))

    with pytest.raises(UnknownBlock):
        await reader.logs_of(BLOCK, QUERY)


async def test_chain_id_and_code_are_read() -> None:
    reader, client = reader_of("0x2105")

    assert await reader.chain_id() == 8453
    assert await reader.code_at(Address(POOL)) == b"\x21\x05"
    assert asked(client)[1] == ("eth_getCode", [hexed(POOL), "latest"])


async def test_a_labelled_reader_counts_its_readings_under_its_label() -> None:
    purposes: list[str] = []
    client = ScriptedClient(
        answering(lambda _method, _params: msgspec.Raw(b"[]")),
        on_request=lambda _endpoint, _method, purpose: purposes.append(purpose),
    )
    reader = RpcReader(client)

    await reader.labelled("bootstrap").logs_between(1, 2, QUERY)
    await reader.logs_of(BLOCK, QUERY)

    assert purposes == ["bootstrap", "logs"]
