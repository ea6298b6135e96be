"""Recordings of real contracts, recorded again on their way through, and replayed from the file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chimera.app.recording import markets_of
from chimera.app.replaying import Player
from chimera.detection.detector import OpportunityDetector
from chimera.domain.block import Rollback
from chimera.domain.opportunity import Observation, Opportunity
from chimera.errors import Refuse
from chimera.registry import build_adapter
from chimera.replay.frames import End, Shelved, Start, Taken, digest
from chimera.replay.recording import Damaged, Followed, Header, Recording, Tape
from devnet.recording import Line, address
from devnet.replay import Replay
from tests.fakes_replay import write

RECORDINGS = Path(__file__).parent.parent / "recordings"
NAME = "taped"
FILES = [
    "aave_v3-3.6.0-14",
    "compound_v2-moonwell-12",
    "compound_v3-comet-13",
    "morpho_blue-1.0.0-11",
]


class Listening(OpportunityDetector):
    """Keeps every flag that changed."""

    def __init__(self, chain_id: int) -> None:
        super().__init__(chain_id=chain_id)
        self.changed: list[Opportunity] = []

    def observe(self, observation: Observation) -> list[Opportunity]:
        changed = super().observe(observation)
        self.changed += changed
        return changed


class Taping(Replay):
    """Writes what its own book and detector take."""

    def __init__(self, source: Path, tape: Path) -> None:
        super().__init__(source, tamper=self._note)
        its = self.recording
        self.adapter = build_adapter(
            kind=its.family,
            name=NAME,
            address=address(its.config["address"]),
            from_block=its.from_block,
        )
        self.detector = self.listening = Listening(its.chain_id)
        self.markets = markets_of({NAME: self.adapter})
        followed = Followed(NAME, its.family, its.config["address"], its.from_block)
        header = Header(its.chain_id, "recorded", 2, [followed], {})
        self._tape = Tape(tape, header, self.markets)

    def state(self) -> Start:
        shelf = self.book.accounts(NAME)
        shelved = Shelved(shelf.market, dict(shelf.users), shelf.complete)
        return Start(self.book.block, {}, [], (), {NAME: shelved})

    def _load(self, line: Line) -> None:
        super()._load(line)
        self._tape.begin(self.state())

    def _note(self, batch: Any) -> Any:  # noqa: ANN401
        self._tape.add(Taken(batch, 0))
        return batch

    def _roll_back(self, line: Line) -> None:
        super()._roll_back(line)
        self._tape.add(Taken(Rollback(self.book.block), 0))

    def end(self) -> None:
        self._tape.end(End("stopped"))


def whole(frames: Iterable[Taken]) -> Iterable[Taken]:
    return frames


async def played(
    path: Path, change: Callable[[Iterable[Taken]], Iterable[Taken]] = whole
) -> tuple[Player, list[Mapping[str, Any]]]:
    recording = Recording(path)
    player = Player(recording)
    told: list[Mapping[str, Any]] = []
    try:
        await player.begin()
        frames = (frame for frame in recording.frames() if isinstance(frame, Taken))
        for frame in change(frames):
            told += await player.take(frame)
    finally:
        await player.rooms.chain.close()
    return player, told


@pytest.mark.parametrize("name", FILES)
def test_a_replay_ends_in_the_same_accounts_market_and_flags(tmp_path: Path, name: str) -> None:
    taping = Taping(RECORDINGS / f"{name}.jsonl.gz", tmp_path / "taped.jsonl.gz")
    assert taping.run().mismatches == []
    taping.end()

    player, told = asyncio.run(played(tmp_path / "taped.jsonl.gz"))

    book = player.rooms.book
    shelf = book.accounts(NAME)
    shelved = Shelved(shelf.market, dict(shelf.users), shelf.complete)
    ours = Start(book.block, {}, [], (), {NAME: shelved})
    assert digest(ours, taping.markets) == digest(taping.state(), taping.markets)
    assert len(shelf.users) > 10
    wanted = {(one.id, one.state, one.closed_block) for one in taping.listening.changed}
    assert {(t["flag"]["id"], t["event"], t["flag"]["closed_block"]) for t in told} == {
        (identity, "flagged" if state == "open" else state, closed)
        for identity, state, closed in wanted
    }
    assert wanted
    assert player.outcome()["rollbacks"] > 0


@pytest.fixture(scope="module")
def taped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("taped") / "taped.jsonl.gz"
    taping = Taping(RECORDINGS / f"{FILES[0]}.jsonl.gz", path)
    taping.run()
    taping.end()
    return path


def test_a_market_in_quarantine_is_in_quarantine_again(taped: Path) -> None:
    def held(frames: Iterable[Taken]) -> Iterable[Taken]:
        return (replace(frame, held=(NAME,)) for frame in frames)

    _, usual = asyncio.run(played(taped))
    _, told = asyncio.run(played(taped, held))

    flagged = [one["flag"] for one in told if one["event"] == "flagged"]
    assert [flag["id"] for flag in flagged] == [
        one["flag"]["id"] for one in usual if one["event"] == "flagged"
    ]
    assert {(flag["liquidatable"], flag["reason"]) for flag in flagged} == {(False, "unverified")}
    assert any(one["flag"]["liquidatable"] for one in usual)


def test_where_the_daemon_read_its_book_anew_the_replay_ends(taped: Path) -> None:
    def without_a_block(frames: Iterable[Taken]) -> Iterable[Taken]:
        first, _, third, *_ = frames
        return [first, third]

    player, _ = asyncio.run(played(taped, without_a_block))

    outcome = player.outcome()
    assert outcome["blocks"] == 1
    assert "does not build on" in outcome["misfit"]


def test_a_recording_that_goes_on_where_nothing_fits_is_damaged(taped: Path) -> None:
    def with_a_gap(frames: Iterable[Taken]) -> Iterable[Taken]:
        return [frame for place, frame in enumerate(frames) if place != 1]

    with pytest.raises(Damaged, match="does not build on"):
        asyncio.run(played(taped, with_a_gap))


def test_an_unknown_family_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "stall.jsonl.gz")

    with pytest.raises(Refuse, match="unknown kind 'stalls'"):
        Player(Recording(path))
