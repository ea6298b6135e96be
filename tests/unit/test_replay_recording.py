"""The file of a recording: what is written comes back, whatever happens to its end."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from chimera.errors import Refuse
from chimera.replay.frames import End, Frame
from chimera.replay.recording import Damaged, Recording
from tests.fakes_replay import FRAMES, MARKETS, Stall, changed_line, header, start, write

STOPPED = End("stopped")


def read(path: Path) -> tuple[list[Frame], bool]:
    recording = Recording(path)
    assert recording.start(MARKETS) == start()
    frames = list(recording.frames())
    return frames, recording.is_cut_off


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    path = write(tmp_path / "whole.gz", end=STOPPED)

    assert Recording(path).header == header()
    assert read(path) == ([*FRAMES, STOPPED], False)


def test_what_a_market_remembers_for_itself_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "whole.gz")

    market = Recording(path).start(MARKETS).shelves["stall"].market

    assert isinstance(market, Stall)
    assert market.known == {}


def test_every_frame_is_there_once_it_was_added(tmp_path: Path) -> None:
    """As after `kill -9`: nobody closed the file."""
    assert read(write(tmp_path / "killed.gz")) == (FRAMES, True)


def test_a_file_cut_anywhere_is_read_up_to_its_last_whole_frame(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.gz", end=STOPPED).read_bytes()
    lengths = set()
    for size in range(len(whole)):
        cut = tmp_path / "cut.gz"
        cut.write_bytes(whole[:size])
        try:
            frames, is_cut_off = read(cut)
        except Damaged as error:
            assert "cut off" in str(error)  # noqa: PT017  (most cuts raise nothing)
            frames, is_cut_off = [], True
        everything = [*FRAMES, STOPPED]
        assert frames == everything[: len(frames)]
        assert is_cut_off or frames == everything
        lengths.add(len(frames))
    assert lengths == set(range(len(FRAMES) + 2))


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.gz", end=STOPPED).read_bytes()
    gzip_header = 10  # names a time and a system, which decide nothing
    for place in range(gzip_header, len(whole)):
        changed = tmp_path / "changed.gz"
        changed.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            frames, is_cut_off = read(changed)
        except (Damaged, Refuse):
            continue
        # Only the end may be lost, and then the file says so; or the change decided nothing.
        assert frames == [*FRAMES, STOPPED][: len(frames)], place
        assert is_cut_off or len(frames) == len(FRAMES) + 1


def test_something_behind_the_end_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "whole.gz", end=STOPPED)
    path.write_bytes(path.read_bytes() + b"more")

    with pytest.raises(Damaged, match="behind its end"):
        read(path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "newer.gz", end=STOPPED)

    with pytest.raises(Refuse, match="format version 2"):
        Recording(changed_line(path, 0, lambda line: line.update(version=2)))


def test_other_shapes_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "other.gz", end=STOPPED)
    recording = Recording(changed_line(path, 0, lambda line: line.update(shapes="feed")))

    with pytest.raises(Refuse, match="other shapes"):
        recording.start(MARKETS)


def test_a_line_that_means_nothing_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "odd.gz", end=STOPPED)
    recording = Recording(changed_line(path, 6, lambda line: line.pop("block")))
    recording.start(MARKETS)

    with pytest.raises(Damaged, match="block"):
        list(recording.frames())


@pytest.mark.parametrize("content", [b"{}", b"GIF89a"])
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)

    with pytest.raises(Refuse, match="no recording"):
        Recording(path)


def test_other_compressed_lines_are_refused_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "other.gz"
    path.write_bytes(gzip.compress(b'{"format": "something else"}\n'))

    with pytest.raises(Damaged, match="checksum"):
        Recording(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refuse, match="cannot be read"):
        Recording(tmp_path / "nothing.gz")


def test_an_empty_file_says_that_it_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "empty.gz"
    path.touch()

    with pytest.raises(Damaged, match="cut off"):
        Recording(path)
