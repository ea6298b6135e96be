"""The scene in which the scenarios play, one after the other as long as all goes well."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from devnet.chaos_redis import OPTIONS
from devnet.chaos_scene import BORROWERS, PROGRAM, Scene
from devnet.redis_server import RedisServer
from devnet.stage import Stage

SEED = int(os.environ.get("CHAOS_SEED", "1"))

SetUp = Callable[..., AbstractContextManager[Scene]]


@contextmanager
def set_scene(
    folder: Path,
    *,
    seed: int = SEED,
    database: Path | None = None,
    program: Sequence[str] = PROGRAM,
    extra: Mapping[str, Mapping[str, object]] | None = None,
    fallbacks: bool = False,
) -> Iterator[Scene]:
    """Set a scene up; its daemon has not started."""
    with (
        Stage.build(seed=seed, borrowers=BORROWERS) as stage,
        RedisServer(*OPTIONS) as redis,
        Scene.on(
            stage,
            folder,
            seed=seed,
            redis=redis,
            database=database,
            program=program,
            extra=extra,
            fallbacks=fallbacks,
        ) as scene,
    ):
        yield scene


@pytest.fixture
def set_up() -> SetUp:
    """Return what sets up a scene of one's own."""
    return set_scene


class Theatre:
    """Gives out the same scene again until something went wrong in it."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._stack = ExitStack()
        self._scene: Scene | None = None

    def scene(self) -> Scene:
        if self._scene is None:
            folder = self._folders.mktemp("chaos")
            self._scene = self._stack.enter_context(set_scene(folder))
            self._scene.begin()
        return self._scene

    def close(self) -> None:
        self._scene = None
        self._stack.close()


@pytest.fixture(scope="session")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    theatre = Theatre(tmp_path_factory)
    yield theatre
    theatre.close()


@pytest.fixture
def scene(theatre: Theatre, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A daemon that follows, with accounts that it has flagged; a failed test spoils it."""
    failed = request.session.testsfailed
    scene = theatre.scene()
    scene.have_flags()  # those before may have left nobody under 1
    scene.tell("begins")
    yield scene
    if request.session.testsfailed > failed:
        theatre.close()
