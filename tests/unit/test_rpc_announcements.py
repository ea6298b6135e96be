"""The conversation over a socket: subscriptions, silence, and what is understood."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera.domain.block import Address, Block, BlockHash, Log, LogQuery
from chimera.errors import ChimeraError, Retry
from chimera.rpc.announcements import Connected, Conversation, Event, NewHead, NewLogs, Probed
from chimera.rpc.faults import Garbled, TimedOut
from chimera.rpc.wire import Filter, WireLog, hexed, sized

POOL, TOKEN, TOPIC = Address(b"\x01" * 20), Address(b"\x02" * 20), b"\x0a" * 32
NARROW = LogQuery(frozenset({POOL}), frozenset({TOPIC}))
WIDE = LogQuery(frozenset({POOL, TOKEN}), frozenset({TOPIC}))


def word(number: int) -> str:
    return f"0x{number:064x}"


def announcement(subscription: str, result: object) -> str:
    params = {"subscription": subscription, "result": result}
    return msgspec.json.encode({"method": "eth_subscription", "params": params}).decode()


def head(number: int) -> str:
    names = {"number": hex(number), "hash": word(number), "parentHash": word(number - 1)}
    return announcement("heads", {**names, "timestamp": hex(1_000 + number), "miner": "0x00"})


def answer(number: int, result: object) -> str:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "result": result}).decode()


def refusal(number: int) -> str:
    error = {"code": -32601, "message": "subscriptions are not supported"}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "error": error}).decode()


def sent(talk: Conversation) -> list[tuple[str, Any]]:
    frames = [msgspec.json.decode(frame) for _, frame in talk.outgoing()]
    return [(frame["method"], frame["params"]) for frame in frames]


def heard(talk: Conversation, message: str | bytes, now: float) -> Event | None:
    """Return what follows from one message, which is one thing at most."""
    told = list(talk.take([message], now))
    assert len(told) <= 1
    return told[0] if told else None


def connected(*, silence: float | None = 10.0) -> Conversation:
    talk = Conversation(silence=silence, timeout=5.0, now=0.0)
    talk.outgoing()
    assert heard(talk, answer(1, "heads"), 0.0) == Connected()
    return talk


def test_it_begins_by_asking_for_heads() -> None:
    talk = Conversation(silence=10.0, timeout=5.0, now=0.0)

    assert sent(talk) == [("eth_subscribe", ["newHeads"])]
    assert sent(talk) == []


def test_a_head_is_understood() -> None:
    event = heard(connected(), head(7), 1.0)

    assert isinstance(event, NewHead)
    expected = Block(
        7, BlockHash(bytes.fromhex(word(7)[2:])), BlockHash(bytes.fromhex(word(6)[2:])), 1_007
    )
    assert event.block == expected
    assert event.arrived_ns > 0


def test_logs_are_asked_for_and_understood() -> None:
    talk = connected()
    talk.watch(NARROW, 0.0)
    wanted = {"address": [hexed(POOL)], "topics": [[hexed(TOPIC)]]}
    assert sent(talk) == [("eth_subscribe", ["logs", wanted])]
    heard(talk, answer(2, "logs"), 0.0)

    words = {"address": hexed(POOL), "topics": [hexed(TOPIC)], "data": "0x0102"}
    places = {"blockNumber": "0x7", "blockHash": word(7), "logIndex": "0x3"}
    event = heard(talk, announcement("logs", {**words, **places, "removed": True}), 1.0)

    log = Log(POOL, (TOPIC,), b"\x01\x02", 3, 7)
    assert event == NewLogs(BlockHash(bytes.fromhex(word(7)[2:])), [log], removed=True)


def test_the_same_query_is_subscribed_to_once_and_an_empty_one_never() -> None:
    talk = connected()
    talk.watch(LogQuery(frozenset(), frozenset()), 0.0)
    talk.watch(LogQuery(frozenset({POOL}), frozenset()), 0.0)
    assert sent(talk) == []

    talk.watch(NARROW, 0.0)
    talk.watch(NARROW, 0.0)

    assert len(sent(talk)) == 1


def test_an_older_subscription_ends_once_the_wider_one_stands() -> None:
    talk = connected()
    talk.watch(NARROW, 0.0)
    heard(talk, answer(2, "narrow"), 0.0)
    talk.watch(WIDE, 0.0)
    assert [method for method, _ in sent(talk)] == ["eth_subscribe", "eth_subscribe"]

    heard(talk, answer(3, "wide"), 0.0)

    assert sent(talk) == [("eth_unsubscribe", ["narrow"])]


def test_logs_of_an_ending_subscription_count_as_long_as_they_come() -> None:
    talk = connected()
    talk.watch(NARROW, 0.0)
    heard(talk, answer(2, "narrow"), 0.0)
    talk.watch(WIDE, 0.0)
    heard(talk, answer(3, "wide"), 0.0)
    words = {"address": hexed(POOL), "topics": [hexed(TOPIC)], "data": "0x"}
    places = {"blockNumber": "0x7", "blockHash": word(7), "logIndex": "0x3"}

    assert isinstance(heard(talk, announcement("narrow", {**words, **places}), 1.0), NewLogs)
    assert heard(talk, announcement("another", {**words, **places}), 1.0) is None


WORDS = {"address": hexed(POOL), "topics": [hexed(TOPIC), word(5)], "data": "0x0102"}
PLACES = {"blockNumber": "0x7", "blockHash": word(7), "logIndex": "0x3", "removed": False}
HEAD = {"number": "0x7", "hash": word(7), "parentHash": word(6), "timestamp": "0x1"}
ODD: st.SearchStrategy[object] = st.sampled_from(
    [None, 7, "", "0x", "7", "0xzz", "0x0", word(7), word(7).upper(), [], [word(9)], True, {}]
)


@given(
    st.sampled_from(["heads", "logs", "older", "another", 7]),
    st.sampled_from([WORDS | PLACES, WORDS | PLACES | HEAD, HEAD, {}]),
    st.dictionaries(st.sampled_from([*WORDS, *PLACES, *HEAD]), ODD, max_size=2),
    st.sampled_from([{}, {"id": 3}, {"error": {"code": 1, "message": "no"}}, {"result": []}]),
)
def test_what_is_read_at_one_look_is_what_a_closer_one_finds(
    subscription: object, usual: dict[str, Any], odd: dict[str, Any], rest: dict[str, Any]
) -> None:
    params = {"subscription": subscription, "result": usual | odd}
    frame = msgspec.json.encode({**rest, "params": params})
    outcomes: list[object] = []
    for look in (heard, closer):
        talk = connected()
        for number, query in ((2, NARROW), (3, WIDE)):
            talk.watch(query, 0.0)
            heard(talk, answer(number, "logs" if query is WIDE else "older"), 0.0)
        try:
            event = look(talk, frame, 1.0)
            outcomes.append(event.block if isinstance(event, NewHead) else event)
        except Garbled as fault:
            outcomes.append(str(fault))
    assert outcomes[0] == outcomes[1]


def closer(talk: Conversation, message: bytes, now: float) -> Event | None:
    """Look first what it is, then at that."""
    event = talk._other(message, now)
    params = msgspec.json.decode(message)["params"]
    if params["subscription"] not in ("logs", "older"):
        return event
    wire = msgspec.convert(params["result"], WireLog)
    log = Filter(WIDE).log(wire) or wire.log()
    return NewLogs(BlockHash(sized(wire.block_hash, 32)), [log], wire.removed)


def log_at(block: int, place: int, *, removed: bool = False) -> str:
    places = {"blockNumber": hex(block), "blockHash": word(block), "logIndex": hex(place)}
    return announcement("logs", {**WORDS, **places, "removed": removed})


def rows(events: Iterable[Event]) -> list[object]:
    """Return (block, places, removed) of logs, and of heads the number."""
    return [
        (event.logs[0].block_number, [log.log_index for log in event.logs], event.removed)
        if isinstance(event, NewLogs)
        else isinstance(event, NewHead) and event.block.number
        for event in events
    ]


def watching() -> Conversation:
    talk = connected()
    talk.watch(NARROW, 0.0)
    heard(talk, answer(2, "logs"), 0.0)
    return talk


def test_logs_of_a_block_in_a_row_are_told_together_and_in_order() -> None:
    messages = [
        log_at(7, 0),
        log_at(7, 1),
        answer(99, "nobody asked"),
        log_at(7, 2),
        log_at(7, 2, removed=True),
        log_at(8, 0),
        head(8),
        log_at(8, 1),
        log_at(7, 3),
    ]

    told = rows(watching().take(messages, 1.0))

    assert told == [
        (7, [0, 1, 2], False),
        (7, [2], True),
        (8, [0], False),
        8,
        (8, [1], False),
        (7, [3], False),
    ]


@pytest.mark.parametrize("end", ["nonsense", log_at(7, 2).replace("0x2", "2x")])
def test_what_came_before_nonsense_is_told_before_it_is_blamed(end: str) -> None:
    told = watching().take([head(7), log_at(7, 0), log_at(7, 1), end, head(8)], 1.0)

    assert rows([next(told), next(told)]) == [7, (7, [0, 1], False)]
    with pytest.raises(Garbled):
        next(told)


def test_a_head_says_what_was_surely_watched_while_it_came() -> None:
    talk = connected()
    talk.watch(NARROW, 0.0)
    before = heard(talk, head(1), 0.0)
    heard(talk, answer(2, "narrow"), 0.0)
    between, after = heard(talk, head(2), 0.0), heard(talk, head(3), 0.0)

    watched = [event.watched for event in (before, between, after) if isinstance(event, NewHead)]
    assert watched == [None, None, NARROW]


def test_a_node_that_refuses_logs_is_lived_with() -> None:
    talk = connected()
    talk.watch(NARROW, 0.0)

    assert heard(talk, refusal(2), 0.0) is None
    assert isinstance(heard(talk, head(1), 0.0), NewHead)


def test_a_node_that_refuses_heads_is_left() -> None:
    talk = Conversation(silence=10.0, timeout=5.0, now=0.0)

    with pytest.raises(ChimeraError):
        heard(talk, refusal(1), 0.0)


@pytest.mark.parametrize(
    "frame",
    [
        "<html>",
        "[]",
        '{"id": "x"}',
        announcement("heads", {"number": "0x1"}),
        announcement("heads", "junk"),
        head(1).replace("0x1", "one"),
    ],
)
def test_nonsense_is_a_reason_to_reconnect(frame: str) -> None:
    with pytest.raises(Garbled):
        heard(connected(), frame, 0.0)


def test_announcements_of_others_are_ignored() -> None:
    assert heard(connected(), announcement("stranger", {"a": 1}), 0.0) is None
    assert heard(connected(), answer(99, "0x1"), 0.0) is None


def test_an_answer_that_never_comes_is_a_reason_to_reconnect() -> None:
    talk = Conversation(silence=None, timeout=5.0, now=0.0)
    assert talk.wait(1.0) == 4.0

    with pytest.raises(TimedOut) as caught:
        talk.tick(5.0)
    assert isinstance(caught.value, Retry)


def test_without_a_limit_silence_is_never_questioned() -> None:
    talk = connected(silence=None)
    heard(talk, head(1), 1.0)

    assert talk.wait(1e6) is None
    talk.tick(1e6)
    assert sent(talk) == []


def test_after_a_silence_the_node_is_asked_how_far_it_is() -> None:
    talk = connected()
    heard(talk, head(7), 1.0)
    assert talk.wait(1.0) == 10.0
    talk.tick(10.9)
    assert sent(talk) == []

    talk.tick(11.0)

    assert sent(talk) == [("eth_blockNumber", [])]
    assert talk.wait(11.0) == 5.0


def test_a_quiet_chain_is_no_fault_and_is_asked_again_only_after_the_next_silence() -> None:
    talk = connected()
    heard(talk, head(7), 1.0)
    talk.tick(11.0)
    talk.outgoing()

    assert heard(talk, answer(2, "0x7"), 11.5) == Probed(7)
    assert talk.wait(12.0) == 9.0
    talk.tick(20.0)
    assert sent(talk) == []


def test_a_head_that_the_node_has_but_never_announces_is_a_reason_to_reconnect() -> None:
    talk = connected()
    heard(talk, head(7), 1.0)
    talk.tick(11.0)
    heard(talk, answer(2, "0x8"), 11.5)
    talk.tick(16.0)

    with pytest.raises(TimedOut, match="head 8"):
        talk.tick(16.5)


def test_a_head_that_was_just_on_its_way_is_no_reason_to_reconnect() -> None:
    talk = connected()
    heard(talk, head(7), 1.0)
    talk.tick(11.0)
    heard(talk, answer(2, "0x8"), 11.5)
    heard(talk, head(8), 11.6)

    talk.tick(17.0)

    assert talk.wait(17.0) == pytest.approx(4.6)


def test_a_chain_that_was_set_back_is_reported() -> None:
    talk = connected()
    heard(talk, head(7), 1.0)
    talk.tick(11.0)

    assert heard(talk, answer(2, "0x3"), 11.5) == Probed(3)
    talk.tick(16.6)


ENDED = [{"result": True}, {"error": {"code": -32000, "message": "subscription not found"}}]


@pytest.mark.parametrize("told", ENDED, ids=["granted", "refused"])
def test_a_subscription_that_has_ended_is_forgotten(told: dict[str, object]) -> None:
    talk = connected()
    for number in range(2, 20):
        talk.watch([NARROW, WIDE][number % 2], 0.0)
        [(_, said)] = talk.outgoing()
        heard(talk, answer(msgspec.json.decode(said)["id"], f"0x{number}"), 0.0)
        for _, said in talk.outgoing():
            heard(talk, msgspec.json.encode({"id": msgspec.json.decode(said)["id"], **told}), 0.0)

    assert talk._ending == set()
