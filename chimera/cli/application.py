"""What the command line asks of the composition root, which is imported when it is needed."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from chimera.domain.block import Address
from chimera.domain.notices import RebuildReport
from chimera.domain.position import Position

if TYPE_CHECKING:
    from chimera.settings import Settings

Progress = Callable[[str, int, int], None]


class Row(Protocol):
    """One fact that `check` has looked up."""

    @property
    def subject(self) -> str:
        """Name what was looked at."""

    @property
    def fact(self) -> str:
        """Say what was found."""

    @property
    def ok(self) -> bool:
        """Tell whether it is as it should be."""

    @property
    def source(self) -> Mapping[str, Any]:
        """Describe the source of a price; {} for any other fact."""


class Exported(Protocol):
    """What `borrowers export` has written of one protocol."""

    @property
    def protocol(self) -> str:
        """Name the instance."""

    @property
    def users(self) -> int:
        """Count the accounts."""

    @property
    def searched_to(self) -> int | None:
        """Return the last block of the search; None where there was none."""


class Imported(Exported, Protocol):
    """What `borrowers import` has taken over for one protocol."""

    @property
    def new(self) -> int:
        """Count those that were not known."""

    @property
    def note(self) -> str | None:
        """Say why the file's own search does not count, if it does not."""


class Application(Protocol):
    """`chimera.app`, as far as commands know it."""

    async def run(self, settings: Settings, progress: Progress | None = None) -> None:
        """Run the daemon until it is told to stop."""

    async def record(
        self, settings: Settings, folder: Path, *, size: int, keep: int, progress: Progress | None
    ) -> None:
        """Run the daemon, and write what comes in to files of `size` bytes, `keep` in all."""

    def replay(self, path: Path, *, speed: Decimal | None, heard: bool) -> AsyncIterator[Any]:
        """Feed a recording in again; yield its flags, and what came of it."""

    async def rebuild(
        self,
        settings: Settings,
        *,
        protocol: str | None,
        from_block: int | None,
        verify: bool,
        progress: Progress | None = None,
    ) -> RebuildReport:
        """Read the book from the chain and publish it, without a daemon."""

    async def explain(self, settings: Settings, protocol: str, user: Address) -> dict[str, Any]:
        """Read one account from the chain and explain it. Raises Skip where there is none."""

    async def check(self, settings: Settings) -> Sequence[Row]:
        """Look up what the configuration claims."""

    async def export_borrowers(
        self, settings: Settings, path: Path, *, protocol: str | None = None
    ) -> Sequence[Exported]:
        """Write who is known to have borrowed to a file."""

    async def import_borrowers(
        self, settings: Settings, path: Path, *, protocol: str | None = None
    ) -> Sequence[Imported]:
        """Take over who is known to have borrowed from a file."""

    async def cached_positions(
        self,
        settings: Settings,
        *,
        count: int | None = None,
        bound: float | None = None,
        instance: str | None = None,
    ) -> tuple[list[Position], int]:
        """Read what a daemon has published in Redis, or its beginning. Raises Unreachable."""


def load_settings(path: Path | None) -> Settings:
    """
    Read the configuration against the families that exist, without importing all the rooms.

    Raises:
        Refuse: It is wrong; the message is one line that says where and what was expected.
    """
    from chimera.registry import families  # noqa: PLC0415  (`--help` does without)
    from chimera.settings import load  # noqa: PLC0415  (the same)

    return load(path, kinds=families().keys())


def application() -> Application:
    """Import the composition root, and with it every room: `--help` does without."""
    # A second thread makes the screen's products no faster, but now and then much slower.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.disable()  # nothing that an import makes is garbage, and looking for some takes its time
    from chimera import app  # noqa: PLC0415  (the reason stands in the docstring)

    gc.freeze()
    gc.enable()
    return app
