"""What a network does to the daemon: nothing is lost by it, and nothing invented."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from chimera.app.build import TIMEOUT
from devnet.chaos_process import held
from devnet.chaos_proxy import ChaosProxy
from devnet.chaos_scene import Scene

MISSED = 30  # blocks
LONG = 12.0  # seconds after which every pause between two tries is as long as it gets
SOON = 2.0  # seconds after the return, where a block takes no time
PATIENT = 60.0  # seconds for what is bound to come

CABLES: dict[str, Callable[[Scene], tuple[ChaosProxy, ...]]] = {
    "socket": lambda scene: (scene.ws,),
    "requests": lambda scene: (scene.http,),
    "both": lambda scene: (scene.ws, scene.http),
}


def agreed(scene: Scene) -> None:
    """Nothing lost, nothing invented, and every block applied once."""
    verdict = scene.verdict()
    assert verdict.clean, verdict
    assert scene.applied_too_often() == 0


@pytest.mark.parametrize("which", CABLES)
def test_a_cut_of_thirty_blocks(which: str, scene: Scene) -> None:
    cables = CABLES[which](scene)
    for cable in cables:
        cable.cut()
    last = scene.live(MISSED)
    if which != "socket":  # while only the socket is away, the head is asked for
        assert scene.processed() < last
    for cable in cables:
        cable.restore()
    scene.tell(f"{which}: complete again {scene.catch_up():.2f} s after the return")
    agreed(scene)


def comes(true: Callable[[], bool]) -> bool:
    """Wait until something is so; tell whether it came."""
    deadline = time.monotonic() + PATIENT
    while not (there := true()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return there


def live_for(scene: Scene, seconds: float) -> None:
    """Live the missed blocks, spread over so many seconds, while the daemon gets none of them."""
    began, stands = time.monotonic(), scene.processed()
    for number in range(1, MISSED + 1):
        scene.live(1)
        time.sleep(max(0.0, began + seconds * number / MISSED - time.monotonic()))
    assert scene.processed() <= stands + 1  # whose answers were under way
    assert scene.stage.node.number - scene.processed() >= MISSED - 1


def test_a_long_cut_is_made_up_for_within_two_seconds_of_the_return(scene: Scene) -> None:
    cables = CABLES["both"](scene)
    for cable in cables:
        cable.cut()
    live_for(scene, LONG)
    for cable in cables:
        cable.restore()
    took = scene.catch_up()
    scene.tell(f"cut for {LONG:.0f} s: complete again {took:.2f} s after the return")
    assert took <= SOON + MISSED * scene.pace()
    agreed(scene)


def test_a_long_black_hole_is_made_up_for_once_the_last_request_in_it_is_given_up(
    scene: Scene,
) -> None:
    """Nothing is refused, nothing answered: what hangs in it at the end is waited for."""
    cables = CABLES["both"](scene)
    for cable in cables:
        cable.silent = True
    live_for(scene, LONG)
    for cable in cables:
        cable.restore()
    took = scene.catch_up()
    scene.tell(f"swallowed for {LONG:.0f} s: complete again {took:.2f} s after the return")
    assert took <= TIMEOUT + SOON + MISSED * scene.pace()
    agreed(scene)


def test_connections_that_are_reset_again_and_again(scene: Scene) -> None:
    for number in range(12):
        (scene.ws if number % 3 else scene.http).sever()
        scene.live(2)
    for _ in range(2):  # a busy daemon may have felt all of them as one
        comes_back(scene, scene.ws.sever)
    agreed(scene)


def comes_back(scene: Scene, lose: Callable[[], None]) -> None:
    """Show that the socket is connected again while life goes on."""
    before = scene.ws.accepted
    lose()
    scene.live(2)
    assert comes(lambda: scene.ws.accepted > before)


def test_a_socket_closed_on_one_side_only(scene: Scene) -> None:
    scene.http.half_close()
    comes_back(scene, scene.ws.half_close)
    scene.live(3)
    scene.catch_up()
    agreed(scene)


@pytest.mark.parametrize("which", ["socket", "requests"])
def test_answers_that_are_garbled(which: str, scene: Scene) -> None:
    [cable] = CABLES[which](scene)
    for _ in range(4):
        cable.spoils = 1
        scene.live(3)
        scene.catch_up()
        assert comes(lambda: cable.spoils == 0)
    agreed(scene)


def test_heads_and_logs_that_are_said_twice(scene: Scene) -> None:
    scene.ws.repeats = 40
    scene.follow(10)
    assert comes(lambda: scene.ws.repeats < 40)
    scene.ws.repeats = 0
    agreed(scene)


def test_a_node_that_answers_slowly(scene: Scene) -> None:
    scene.http.delay = 0.2
    scene.live(10)
    scene.catch_up()
    scene.http.delay = 0.0
    agreed(scene)


def test_a_node_that_stands_still(scene: Scene) -> None:
    with held(scene.stage.anvil.pid):
        time.sleep(1.5)
        assert scene.daemon.get("/healthz")[0] == 200
    scene.live(5)
    scene.catch_up()
    agreed(scene)


def test_a_daemon_that_stands_still(scene: Scene) -> None:
    with held(scene.daemon.pid):
        last = scene.live(MISSED)
    scene.tell(f"complete again {scene.catch_up(last):.2f} s after it was let go")
    agreed(scene)
