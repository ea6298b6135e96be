"""Each protocol gets its own logs, and nothing else of what the joint query brought."""

from __future__ import annotations

from chimera.domain.block import Log, LogQuery
from chimera.state.routing import route
from tests.fakes_state import address

POOL, COMET, BOTH, NEW = map(address, range(1, 5))
MINT, TRANSFER = b"\x01" * 32, b"\x02" * 32
QUERIES = {
    "pool": LogQuery(frozenset({POOL, BOTH}), frozenset({MINT})),
    "comet": LogQuery(frozenset({COMET, BOTH}), frozenset({MINT, TRANSFER})),
}


def log(index: int, emitter: bytes, *topics: bytes) -> Log:
    return Log(address(int.from_bytes(emitter, "big")), topics, b"", index, 7)


def indexes(shares: object) -> dict[str, list[int]]:
    assert isinstance(shares, dict)
    return {name: [one.log_index for one in logs] for name, logs in shares.items()}


def test_contracts_are_told_apart_and_the_order_is_kept() -> None:
    logs = [log(0, COMET, MINT), log(1, POOL, MINT), log(2, POOL, MINT), log(3, COMET, TRANSFER)]

    assert indexes(route(QUERIES, logs)) == {"pool": [1, 2], "comet": [0, 3]}


def test_a_contract_of_two_protocols_speaks_to_both() -> None:
    assert indexes(route(QUERIES, [log(0, BOTH, MINT)])) == {"pool": [0], "comet": [0]}


def test_topics_that_nobody_wanted_from_a_contract_are_left_out() -> None:
    logs = [log(0, POOL, TRANSFER), log(1, POOL), log(2, COMET, b"\x03" * 32)]

    assert indexes(route(QUERIES, logs)) == {"pool": [], "comet": []}


def test_a_contract_found_while_sealing_speaks_to_whoever_knows_the_topic() -> None:
    logs = [log(0, NEW, MINT), log(1, NEW, TRANSFER)]

    assert indexes(route(QUERIES, logs)) == {"pool": [0], "comet": [0, 1]}


def test_a_protocol_alone_gets_everything() -> None:
    logs = (log(0, NEW, TRANSFER), log(1, POOL))

    assert route({"pool": QUERIES["pool"]}, logs) == {"pool": logs}


def test_a_contract_that_a_protocol_follows_from_here_on_is_its_own() -> None:
    logs = [log(0, NEW, MINT)]
    wider = {**QUERIES, "pool": LogQuery(frozenset({POOL, BOTH, NEW}), frozenset({MINT}))}

    shares = [indexes(route(queries, logs)) for queries in (QUERIES, wider, QUERIES)]

    assert shares[0] == shares[2] == {"pool": [0], "comet": [0]}
    assert shares[1] == {"pool": [0], "comet": []}
