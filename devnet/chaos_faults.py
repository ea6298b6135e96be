"""Everything that can go wrong around a daemon, as `with` blocks in which life goes on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from devnet import chaos_redis
from devnet.chaos_branch import replaced, set_back
from devnet.chaos_disk import locked
from devnet.chaos_process import held
from devnet.chaos_proxy import ChaosProxy
from devnet.chaos_redis import STREAM, client_of
from devnet.chaos_scene import Scene

SLOW = 2.0  # seconds for one command of Redis
LATE = 0.2  # seconds for one answer of the node
REPEATED, SPOILT = 40, 6  # pieces of answers

Fault = Callable[[Scene], AbstractContextManager[None]]


# -- cables ------------------------------------------------------------------------------------


@contextmanager
def _changed(*cables: ChaosProxy, **faults: object) -> Iterator[None]:
    for cable in cables:
        vars(cable).update(faults)
    try:
        yield
    finally:
        for cable in cables:
            cable.restore()


@contextmanager
def cut(*cables: ChaosProxy) -> Iterator[None]:
    """Have these cables cut for a while."""
    for cable in cables:
        cable.cut()
    try:
        yield
    finally:
        for cable in cables:
            cable.restore()


@contextmanager
def reset(*cables: ChaosProxy) -> Iterator[None]:
    """Reset the connections in the beginning and at the end; new ones are welcome."""
    for cable in cables:
        cable.sever()
    yield
    for cable in cables:
        cable.sever()


@contextmanager
def half_closed(*cables: ChaosProxy) -> Iterator[None]:
    """Close the connections on one side only."""
    for cable in cables:
        cable.half_close()
    yield


CABLES: dict[str, Fault] = {
    "socket cut": lambda scene: cut(scene.ws),
    "requests cut": lambda scene: cut(scene.http),
    "both cut": lambda scene: cut(scene.ws, scene.http),
    "connections reset": lambda scene: reset(scene.ws, scene.http),
    "connections half-closed": lambda scene: half_closed(scene.ws, scene.http),
    "socket garbled": lambda scene: _changed(scene.ws, spoils=1),
    "requests garbled": lambda scene: _changed(scene.http, spoils=2),
    "heads twice": lambda scene: _changed(scene.ws, repeats=REPEATED),
    "node slow": lambda scene: _changed(scene.http, delay=LATE),
}
SILENCE: dict[str, Fault] = {"socket silent": lambda scene: _changed(scene.ws, silent=True)}


# -- Redis -------------------------------------------------------------------------------------


@contextmanager
def _redis_lost(scene: Scene) -> Iterator[None]:
    scene.redis.kill()
    scene.forget()
    try:
        yield
    finally:
        scene.redis.start()


@contextmanager
def _other_types(scene: Scene) -> Iterator[None]:
    _, positions = scene.daemon.positions()
    with client_of(scene.redis) as client:
        for position in positions:
            if position["debt"]:
                name = f"position:{position['protocol']}:{position['user']}"
                with client.pipeline(transaction=True) as both:  # the daemon writes meanwhile
                    both.delete(name).rpush(name, "not", "a", "position").execute()
        client.delete(STREAM)
        client.set(STREAM, "not a stream")
        scene.forget()
        yield
        client.delete(STREAM)


REDIS: dict[str, Fault] = {
    "Redis lost": _redis_lost,
    "Redis slow": lambda scene: _changed(scene.cable, delay=SLOW),
    "Redis garbled": lambda scene: _changed(scene.cable, spoils=SPOILT),
    "Redis hung": lambda scene: chaos_redis.hung(scene.redis),
    "Redis full": lambda scene: chaos_redis.full(scene.redis),
    "Redis read-only": lambda scene: chaos_redis.read_only(scene.redis),
    "Redis crowded": lambda scene: chaos_redis.crowded(scene.redis),
    "Redis with other types": _other_types,
}


# -- processes, history, chain -------------------------------------------------------------------


@contextmanager
def _killed(scene: Scene) -> Iterator[None]:
    scene.daemon.kill()
    try:
        yield
    finally:
        scene.start()


@contextmanager
def _set_back_unseen(scene: Scene) -> Iterator[None]:
    with set_back(scene.stage):
        scene.catch_up(scene.live(3))
        scene.ws.cut()
        scene.http.cut()
        scene.live(2)
    scene.live(6)
    yield
    scene.ws.restore()
    scene.http.restore()


@contextmanager
def _standing_still(scene: Scene) -> Iterator[None]:
    scene.life.begin(actions=3)
    scene.mine_at(scene.stage.node.time)
    yield


@contextmanager
def _seen_and_replaced(scene: Scene) -> Iterator[None]:
    with replaced(scene.stage):
        yield
        scene.catch_up()
    scene.live(1)


@contextmanager
def _seen_and_set_back(scene: Scene) -> Iterator[None]:
    first = scene.stage.node.number
    with set_back(scene.stage):
        yield
        scene.catch_up()
        length = scene.stage.node.number - first
    scene.live(length + 1)


MUTE = {"daemon killed", "daemon held"}  # meanwhile it answers nobody
CRASHES: dict[str, Fault] = {"daemon killed": _killed}
OTHERS: dict[str, Fault] = {
    "daemon held": lambda scene: held(scene.daemon.pid),
    "history locked": lambda scene: locked(scene.database),
    "blocks replaced": _seen_and_replaced,
    "chain set back": _seen_and_set_back,
    "chain set back unseen": _set_back_unseen,
    "time stands still": _standing_still,
}


def draw(chance: random.Random, *, crashes: bool, silence: bool) -> tuple[str, Fault]:
    """Draw one fault; crashes and those that take long only if they are wanted."""
    choices = CABLES | REDIS | OTHERS
    if crashes:
        choices |= CRASHES
    if silence:
        choices |= SILENCE
    name = chance.choice(sorted(choices))
    return name, choices[name]
