"""What is recorded beside a daemon: rotated, bounded, and never in its way."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chimera.domain.block import Block, BlockBatch, Rollback
from chimera.errors import Refuse
from chimera.replay import recorder as module
from chimera.replay.frames import End, Frame, Heard, Taken
from chimera.replay.recorder import Bounds, Overheard, RecordedFeed, Recorder
from chimera.replay.recording import Recording, Tape
from tests.fakes_replay import MARKETS, batch, block, header, start

ROOMY = Bounds(size=1 << 20, keep=1 << 24, overlap=3)
TINY = Bounds(size=1, keep=1 << 20, overlap=3)


class Desk:
    """A recorder on a folder, with a book that stands where the last message left it."""

    def __init__(self, folder: Path, bounds: Bounds = ROOMY, **more: Any) -> None:  # noqa: ANN401
        self.folder = folder
        self.book = 100
        self.now = 0
        self._count = 0
        self.recorder = Recorder(
            folder,
            markets=MARKETS,
            header=self._header,
            snapshot=lambda: start(self.book),
            bounds=bounds,
            clock=lambda: self.now,
            **more,
        )
        self.recorder.restart()

    def _header(self) -> Any:  # noqa: ANN401
        self._count += 1
        began = {"utc": f"2026-01-02T03:04:05.{self._count:06d}+00:00", "monotonic_ns": 0}
        return replace(header(), began=began)

    def take(self, message: BlockBatch | Rollback) -> None:
        self.recorder.take(Taken(message, self.now))
        self.book = (message.ancestor if isinstance(message, Rollback) else message.block).number
        self.recorder.applied(message)
        self.settle()

    def blocks(self, *numbers: int) -> None:
        for number in numbers:
            self.take(batch(number))

    def settle(self) -> None:
        """Wait until the disk has everything."""
        last = self.recorder._last
        assert last is not None
        last.result(10)

    def files(self) -> list[tuple[int, list[Frame]]]:
        """Stop; return the first block and the frames of every file, oldest first."""
        self.recorder.close()
        found = []
        for path in sorted(self.folder.iterdir()):
            recording = Recording(path)
            first = recording.start(MARKETS).block.number
            found.append((first, list(recording.frames())))
        return found


def numbers(frames: list[Frame]) -> list[int]:
    messages = [frame.message for frame in frames if isinstance(frame, Taken)]
    return [one.block.number for one in messages if isinstance(one, BlockBatch)]


def test_everything_until_the_stop_is_in_one_file(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "new" / "folder")
    desk.recorder.heard({"event": "connected"})
    desk.blocks(101, 102)
    desk.take(Rollback(block(101)))

    [(first, frames)] = desk.files()

    assert first == 100
    assert frames[0] == Heard(0, {"event": "connected"})
    assert frames[1:] == [
        *(Taken(batch(101), 0), Taken(batch(102), 0), Taken(Rollback(block(101)), 0)),
        End("stopped"),
    ]


def test_files_overlap_so_that_a_reorg_finds_its_blocks_in_one_of_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path, TINY)
    desk.blocks(*range(101, 111))

    files = desk.files()

    assert [(first, numbers(frames)) for first, frames in files] == [
        (100, [101, 102, 103, 104, 105, 106]),
        (103, [104, 105, 106, 107, 108, 109, 110]),
        (107, [108, 109, 110]),
    ]
    assert [frames[-1] for _, frames in files[:2]] == [End("rotated")] * 2


def test_a_reorg_below_the_newer_file_leaves_it_to_the_older_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path, TINY)
    desk.blocks(101, 102, 103, 104)
    desk.take(Rollback(block(102)))
    desk.blocks(103)

    desk.settle()
    assert len(list(tmp_path.iterdir())) == 2  # the one of block 103 is gone, another one begins
    [(_, frames), (second, _)] = desk.files()
    assert numbers(frames) == [101, 102, 103, 104, 103]
    assert second == 103
    assert Taken(Rollback(block(102)), 0) in frames


def test_a_reorg_below_the_only_file_ends_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.blocks(101)
    desk.take(Rollback(block(99)))
    desk.blocks(100, 101)

    files = desk.files()

    assert [(first, numbers(frames)) for first, frames in files] == [(100, [101]), (100, [101])]
    assert files[0][1][-1] == End("reorg")


def test_the_oldest_files_go_first(tmp_path: Path) -> None:
    stranger = tmp_path / "chimera-8-20000101T000000.000000Z-1.jsonl.gz"  # of another chain
    stranger.write_bytes(bytes(3_000))
    desk = Desk(tmp_path, Bounds(size=1, keep=3_000, overlap=3))
    for number in range(101, 161):
        desk.blocks(number)
        ours = [path for path in tmp_path.iterdir() if path != stranger]
        assert sum(path.stat().st_size for path in ours) < 3_000 + 2 * 1_500
    desk.recorder.close()
    stranger_is_there = stranger.exists()
    stranger.unlink()

    files = desk.files()

    assert stranger_is_there
    assert files[0][0] > 140
    assert files[-1][0] > 155


def test_a_book_that_was_read_anew_begins_a_file(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.blocks(101)
    desk.recorder.restart()
    desk.blocks(102)

    [(_, before), (second, after)] = desk.files()

    assert before[-1] == End("reloaded")
    assert (second, numbers(after)) == (101, [102])


def test_a_slow_disk_holds_nobody_up_and_leaves_a_marked_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, add = threading.Event(), Tape.add
    monkeypatch.setattr(Tape, "add", lambda tape, frame: (free.wait(10), add(tape, frame))[1])
    desk = Desk(tmp_path, most_pending=10)
    for number in range(101, 131):
        desk.recorder.take(Taken(batch(number), 0))
        desk.book = number
        desk.recorder.applied(batch(number))
    free.set()
    desk.settle()
    desk.blocks(131, 132)

    [(_, before), (second, after)] = desk.files()

    assert before[-1] == End("gap")
    assert len(numbers(before)) + desk.recorder.dropped + len(numbers(after)) == 32
    assert desk.recorder.dropped > 10
    assert (second, numbers(after)) == (131, [132])


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), TypeError("no shape")])
def test_a_disk_that_fails_ends_the_file_and_another_one_begins_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fails(*_: object) -> None:
        raise fault

    desk = Desk(tmp_path)
    desk.blocks(101)
    with monkeypatch.context() as broken:
        broken.setattr(Tape, "_put", fails)
        desk.blocks(102, 103, 104)
    desk.blocks(105)
    assert len(list(tmp_path.iterdir())) == 1
    desk.now += int(module.AGAIN_AFTER * 1e9)
    desk.blocks(106, 107)

    [(_, before), (second, after)] = desk.files()

    assert numbers(before) == [101]
    assert (second, numbers(after)) == (106, [107])


def test_a_stop_does_not_wait_for_a_large_book(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[object] = []
    began = threading.Event()

    def slowly(*_: object) -> Iterator[dict[str, object]]:
        for line in range(10_000):
            time.sleep(0.01)
            written.append(line)
            began.set()
            yield {"line": line}

    monkeypatch.setattr("chimera.replay.recording.start_lines", slowly)
    monkeypatch.setattr(module, "CLOSING_SECONDS", 0.05)
    desk = Desk(tmp_path)
    assert began.wait(20)

    desk.recorder.close()
    desk.recorder._writer.shutdown(wait=True)

    assert len(written) < 1_000


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Refuse, match="cannot be made"):
        Desk(tmp_path / "file")


class Source:
    """A feed of three blocks, and a subscription that says three words."""

    trouble = "none"

    async def follow(self, start: Block) -> AsyncGenerator[BlockBatch | Rollback, None]:
        for number in range(start.number + 1, start.number + 4):
            yield batch(number)

    def watch(self, query: object) -> None:
        self.watched = query

    async def listen(self) -> AsyncGenerator[str, None]:
        for word in ("one", "two", "three"):
            yield word


def test_a_feed_is_recorded_before_each_message_is_taken(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    feed = RecordedFeed(Source(), desk.recorder, Taken)

    async def consume() -> None:
        async with aclosing(feed.follow(block(100))) as messages:
            async for message in messages:
                assert isinstance(message, BlockBatch)
                desk.book = message.block.number

    asyncio.run(consume())
    desk.recorder.close()

    assert feed.trouble == "none"
    assert [(first, numbers(frames)) for first, frames in desk.files()] == [
        (100, []),  # `Desk` begins one, too
        (100, [101, 102, 103]),
    ]


def test_what_a_subscription_says_is_overheard() -> None:
    heard: list[str] = []
    tell: Callable[[str], None] = heard.append

    async def consume() -> list[str]:
        return [word async for word in Overheard(Source(), tell).listen()]

    assert asyncio.run(consume()) == heard == ["one", "two", "three"]
