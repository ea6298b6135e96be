"""How long a subscription rests between its attempts; `tests/integration` has the sockets."""

import asyncio
import time

import pytest

from chimera.errors import Retry
from chimera.rpc.announcements import Probed
from chimera.rpc.pauses import JITTER
from chimera.rpc.websocket import FIRST_PAUSE, LONGEST_PAUSE, Subscription

URL = "ws://node.example"


@pytest.mark.parametrize(("drawn", "factor"), [(0.0, 1 - JITTER), (0.5, 1.0), (1.0, 1 + JITTER)])
def test_pauses_double_up_to_the_longest_within_the_jitter(drawn: float, factor: float) -> None:
    heads = Subscription([URL], draw=lambda: drawn)

    pauses = [heads._pause(failures) for failures in (0, 1, 2, 3, 4, 1_000)]

    usual = [FIRST_PAUSE, 0.5, 1.0, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert pauses == pytest.approx([factor * pause for pause in usual])
    assert (JITTER, LONGEST_PAUSE) == (0.2, 2.0)  # so that an outage ends within two seconds


def test_endpoints_draw_the_jitter_of_their_rests_as_well() -> None:
    heads = Subscription([URL, URL], first_rest=10.0, draw=iter([0.0, 1.0]).__next__)
    for source in heads.sources:
        source.breaker.failed("for the test")

    first, second = (source.breaker.seconds_left for source in heads.sources)
    assert 7.5 < first <= 8.0
    assert 11.5 < second <= 12.0


async def test_a_quiet_node_does_not_shorten_the_rest_of_another() -> None:
    asked: list[str] = []

    async def standing(url: str) -> tuple[int, int]:
        asked.append(url)
        raise Retry("connection refused")

    urls = ["ws://one.example", "ws://two.example", "ws://three.example"]
    heads = Subscription(urls, draw=lambda: 0.5, ask_standing=standing)
    _, resting, works = heads.sources
    resting.breaker._clock = lambda: 100.0
    resting.breaker.failed("for the test")
    left = resting.breaker.seconds_left

    for _ in range(3):  # as often as the node in use says that it is quiet
        heads._note(heads.sources[0], Probed(5))
        await asyncio.sleep(0.01)

    assert asked == [works.endpoint.url]
    assert resting.breaker.seconds_left == left > 0
    assert works.breaker.state == "open"


async def rested(heads: Subscription, seconds: float, *, heard: bool) -> float:
    began = time.monotonic()
    resting = asyncio.create_task(heads._rest(seconds))
    await asyncio.sleep(0.05)
    if heard:
        heads.heard_elsewhere(7)
    async with asyncio.timeout(20.0):
        await resting
    return time.monotonic() - began


async def test_a_rest_ends_once_a_request_was_answered() -> None:
    heads = Subscription([URL], first_pause=0.1)

    assert 0.1 <= await rested(heads, 19.0, heard=True) < 15.0
    assert await rested(heads, 0.4, heard=False) >= 0.4  # an older answer does not count


async def test_nobody_knocks_more_often_than_the_first_pause_however_many_answers_come() -> None:
    heads = Subscription([URL], first_pause=0.4)

    assert await rested(heads, 19.0, heard=True) >= 0.4
