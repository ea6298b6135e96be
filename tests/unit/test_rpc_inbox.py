"""The inbox of a socket: what a node says, in order and all that has come at once, and the end."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from chimera.rpc.inbox import LONGEST_PLAIN, MOST_BYTES, MOST_WAITING, Inbox

URL = parse_uri("ws://node.example")
LARGEST = 200_000  # bytes of a message


class FakeTransport(asyncio.Transport):
    """Keeps what is written, and whether reading is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.paused = False

    def write(self, data: Any) -> None:  # noqa: ANN401  (bytes of many kinds)
        self.written += bytes(data)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """The test says when it is lost."""


def accepted(client: ClientProtocol) -> bytes:
    """Return what a node answers to the opening of a connection."""
    node = ServerProtocol()
    client.send_request(client.connect())
    node.receive_data(b"".join(client.data_to_send()))
    (request,) = node.events_received()
    assert isinstance(request, Request)
    node.send_response(node.accept(request))
    return b"".join(node.data_to_send())


class Line:
    """An inbox that is connected to nobody: the test says what comes."""

    def __init__(self, *, with_the_answer: bytes = b"") -> None:
        client = ClientProtocol(URL, max_size=LARGEST)
        self.transport = FakeTransport()
        self.inbox = Inbox(client, ping_interval=None)
        self.inbox.connection_made(self.transport)
        answer = accepted(client)
        for part in (answer[:30], answer[30:-2], answer[-2:] + with_the_answer):
            self.inbox.data_received(part)
        assert self.inbox.state is not State.CONNECTING

    def say(self, *messages: bytes) -> None:
        self.inbox.data_received(b"".join(map(text, messages)))

    def lose(self) -> None:
        self.inbox.connection_lost(None)


def text(payload: bytes, *, opcode: Opcode = Opcode.TEXT, fin: bool = True) -> bytes:
    return bytes(Frame(opcode, payload, fin).serialize(mask=False))


async def test_what_has_come_is_taken_at_once_and_in_order() -> None:
    line = Line()
    line.say(b"1", b"2", b"")
    assert await line.inbox.take(1.0) == [b"1", b"2", b""]
    line.say(b"4")
    assert await line.inbox.take(1.0) == [b"4"]


async def test_nothing_within_the_time_is_told_and_loses_nothing() -> None:
    line = Line()
    for part in (text(b"", opcode=Opcode.PING), text(b"one")[:3]):
        waiting = asyncio.create_task(line.inbox.take(0.02))
        await asyncio.sleep(0)
        line.inbox.data_received(part)
        with pytest.raises(TimeoutError):
            await waiting
    line.inbox.data_received(text(b"one")[3:])
    assert await line.inbox.take(None) == [b"one"]


async def test_the_end_comes_after_the_messages_before_it_and_stays() -> None:
    line = Line()
    line.say(b"1")
    line.inbox.data_received(text(b"\x03\xf3why", opcode=Opcode.CLOSE) + text(b"too late"))
    line.lose()
    assert await line.inbox.take(1.0) == [b"1"]
    for _ in range(2):
        with pytest.raises(ConnectionClosed, match=r"received 1011 .*why"):
            await line.inbox.take(1.0)


async def test_an_end_wakes_whoever_waits() -> None:
    line = Line()
    waiting = asyncio.create_task(line.inbox.take(None))
    await asyncio.sleep(0)
    line.lose()
    with pytest.raises(ConnectionClosed, match="no close frame"):
        await asyncio.wait_for(waiting, 20.0)


async def test_a_node_that_sends_more_than_is_taken_has_to_wait() -> None:
    line = Line()
    many = [b"%d" % number for number in range(2 * MOST_WAITING + 1)]
    line.say(*many[: MOST_WAITING - 1])
    assert not line.transport.paused
    line.say(*many[MOST_WAITING - 1 :])
    taken: list[bytes] = []
    while len(taken) < len(many):
        assert line.transport.paused
        found = await line.inbox.take(1.0)
        assert len(found) <= MOST_WAITING
        taken += found
    assert taken == many
    assert not line.transport.paused


async def test_a_node_that_says_much_at_length_has_to_wait() -> None:
    line = Line()
    message = b"x" * LONGEST_PLAIN
    for number in range(MOST_BYTES // LONGEST_PLAIN):
        assert not line.transport.paused, number
        line.say(message)
    assert line.transport.paused
    assert set(await line.inbox.take(1.0)) == {message}
    assert not line.transport.paused
    line.say(b"short")
    assert not line.transport.paused


async def test_a_message_is_waited_for_however_long_it_is() -> None:
    line = Line()
    for _ in range(MOST_BYTES // LARGEST + 1):
        line.inbox.data_received(text(b"x" * LARGEST)[:-1])
        assert not line.transport.paused  # nobody could take it before it is whole
        line.inbox.data_received(b"x")
        assert await line.inbox.take(1.0) == [b"x" * LARGEST]


async def test_a_node_that_never_pauses_leaves_others_their_turn() -> None:
    line = Line()
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    line.say(b"1")
    await line.inbox.take(1.0)
    assert turns == [1]


async def test_plain_texts_cost_none_of_the_library_s_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = Line()
    seen: list[bytes] = []
    monkeypatch.setattr(line.inbox.protocol, "receive_data", seen.append)
    line.say(b"1", b"x" * LONGEST_PLAIN, b"2")
    assert len(await line.inbox.take(1.0)) == 3
    assert seen == []


@pytest.mark.parametrize("first", [b"hello", b"\x81\x00", b"\r\n\r\n", b""])
@pytest.mark.parametrize("early", [1, 2, 3, 100])
async def test_a_node_may_say_something_with_its_answer_to_the_opening(
    first: bytes, early: int
) -> None:
    stream = text(first) + text(b"again")
    line = Line(with_the_answer=stream[:early])
    if early < len(stream):
        line.inbox.data_received(stream[early:])
    assert await line.inbox.take(1.0) == [first, b"again"]


async def test_a_farewell_of_ours_is_answered_behind_whatever_is_under_way() -> None:
    line = Line()
    closing = asyncio.create_task(line.inbox.close())
    await asyncio.sleep(0)
    goodbye = text(b"\x03\xe8", opcode=Opcode.CLOSE)
    line.inbox.data_received(text(b"", opcode=Opcode.PING) + text(b"late") + goodbye)
    line.lose()
    await asyncio.wait_for(closing, 20.0)
    assert line.inbox.close_code == 1000


class Alone:
    """What the library by itself makes of the same bytes."""

    def __init__(self, stream: bytes) -> None:
        client = ClientProtocol(URL, max_size=LARGEST)
        client.receive_data(accepted(client))
        client.data_to_send()
        client.events_received()
        client.receive_data(stream)
        self.written = b"".join(client.data_to_send())
        self.messages = list(self._messages(client))
        self.end = ended(client)

    def _messages(self, client: ClientProtocol) -> Iterator[bytes]:
        joined = b""
        for event in client.events_received():
            assert isinstance(event, Frame)
            if event.opcode in DATA_OPCODES:
                joined += event.data
                if event.fin:
                    yield joined
                    joined = b""


def ended(client: Protocol) -> tuple[object, ...]:
    """Return how a connection stands: all of it but the objects' own identity."""
    return client.state, client.close_rcvd, client.close_sent, repr(client.parser_exc)


def replies(written: bytes) -> list[Frame]:
    """Return the frames that a client wrote, whatever it masked them with."""
    node = ServerProtocol(state=State.OPEN)
    node.receive_data(written)
    return [event for event in node.events_received() if isinstance(event, Frame)]


SIZES = (0, 1, 125, 126, 127, 300, LONGEST_PLAIN, LONGEST_PLAIN + 1, LARGEST, LARGEST + 1)
PAYLOADS = st.builds(
    lambda size, like: (like * size)[:size],
    st.sampled_from(SIZES),
    st.sampled_from([b"x", b"\x81\x00", b"\x00\x81"]),  # it may look like frames
)
SHORT = st.binary(max_size=125)
WHOLE = st.builds(text, PAYLOADS, opcode=st.sampled_from([Opcode.TEXT, Opcode.TEXT, Opcode.BINARY]))
PINGS = st.builds(text, SHORT, opcode=st.sampled_from([Opcode.PING, Opcode.PONG]))
PARTS = st.builds(
    text, SHORT, opcode=st.sampled_from([Opcode.TEXT, Opcode.CONT]), fin=st.booleans()
)
JOINED = st.builds(
    lambda first, between, last: (
        text(first, fin=False) + between + text(last, opcode=Opcode.CONT, fin=True)
    ),
    PAYLOADS,
    st.just(b"") | PINGS | WHOLE,
    PAYLOADS,
)
LENGTHY = st.just(b"\x81\x7f" + (5).to_bytes(8) + b"short")  # 8 bytes where one would do
MASKED = st.just(bytes(Frame(Opcode.TEXT, b"masked").serialize(mask=True)))
FAREWELL = st.sampled_from([text(b"\x03\xe8", opcode=Opcode.CLOSE), b"\x88\x00", b"\x88\x01x"])
FRAMES = st.one_of(WHOLE, WHOLE, PINGS, JOINED)
ODD = st.one_of(FRAMES, PARTS, LENGTHY, MASKED, FAREWELL, st.binary(max_size=20))


@given(
    st.lists(FRAMES, max_size=4).flatmap(
        lambda usual: st.lists(ODD, max_size=3).map(lambda odd: b"".join(usual + odd))
    ),
    st.lists(st.sampled_from([1, 2, 3, 5, 9, 11, 100, 4_096, 65_536, 262_144]), min_size=1),
)
@example(text(b"one") + text(b"two", fin=False) + text(b"three"), [1])
@example(text(b"", fin=False) + text(b"inside"), [4])
@example(text(b"") + text(b"last")[:-1], [1])
@example(b"\x81\x80mask", [2])
@example(text(b"\x03\xe8", opcode=Opcode.CLOSE) + text(b"late"), [4])
async def test_it_takes_what_the_library_takes_and_ends_as_it_ends(
    stream: bytes, steps: Sequence[int]
) -> None:
    line, taken, at, turn = Line(), [], 0, 0
    while at < len(stream):
        step = steps[turn % len(steps)] if turn < 2_000 else len(stream)
        line.inbox.data_received(stream[at : at + step])
        at, turn = at + step, turn + 1
        if turn % 3 == 0 and line.inbox._messages:
            taken += await line.inbox.take(1.0)
    while line.inbox._messages:
        taken += await line.inbox.take(1.0)

    alone = Alone(stream)
    assert taken == alone.messages
    assert ended(line.inbox.protocol) == alone.end
    assert replies(line.transport.written) == replies(alone.written)
