"""The inbox of a socket: frames in order, all that have come at once, and the end behind them."""

import asyncio
from contextlib import aclosing

import pytest

from chimera.rpc.inbox import MOST_WAITING, Inbox


class FakeSocket:
    """Receives what a test says, then what it raises."""

    def __init__(self, *frames: bytes | Exception) -> None:
        self.queue: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.say(*frames)

    def say(self, *frames: bytes | Exception) -> None:
        for frame in frames:
            self.queue.put_nowait(frame)

    async def recv(self, *, decode: bool) -> bytes:
        assert not decode  # JSON is read from bytes
        frame = await self.queue.get()
        if isinstance(frame, Exception):
            raise frame
        return frame


async def test_what_has_come_is_taken_at_once_and_in_order() -> None:
    socket = FakeSocket(b"1", b"2", b"3")
    async with aclosing(Inbox(socket)) as inbox:
        assert await inbox.take(1.0) == [b"1", b"2", b"3"]
        socket.say(b"4")
        assert await inbox.take(1.0) == [b"4"]


async def test_nothing_within_the_time_is_told_and_loses_nothing() -> None:
    socket = FakeSocket()
    async with aclosing(Inbox(socket)) as inbox:
        with pytest.raises(TimeoutError):
            await inbox.take(0.01)
        socket.say(b"1")
        assert await inbox.take(None) == [b"1"]


async def test_the_end_comes_after_the_frames_before_it_and_stays() -> None:
    async with aclosing(Inbox(FakeSocket(b"1", OSError("gone")))) as inbox:
        assert await inbox.take(1.0) == [b"1"]
        for _ in range(2):
            with pytest.raises(OSError, match="gone"):
                await inbox.take(1.0)


async def test_an_end_wakes_whoever_waits() -> None:
    socket = FakeSocket()
    async with aclosing(Inbox(socket)) as inbox:
        waiting = asyncio.create_task(inbox.take(None))
        await asyncio.sleep(0)
        socket.say(OSError("gone"))
        with pytest.raises(OSError, match="gone"):
            await asyncio.wait_for(waiting, 1.0)


async def test_a_node_that_sends_more_than_is_taken_has_to_wait() -> None:
    many = [b"%d" % number for number in range(2 * MOST_WAITING + 1)]
    socket = FakeSocket(*many)
    async with aclosing(Inbox(socket)) as inbox:
        taken: list[bytes | str] = []
        while len(taken) < len(many):
            await asyncio.sleep(0.01)
            found = await inbox.take(1.0)
            assert len(found) <= MOST_WAITING
            taken += found
    assert taken == many


async def test_a_closed_one_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    async with aclosing(Inbox(FakeSocket())):
        assert len(asyncio.all_tasks()) == len(before) + 1
    assert asyncio.all_tasks() == before
