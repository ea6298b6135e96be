"""A running mirror is recorded into many small files: each says by itself what the mirror did."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chimera.app.recording import markets_of, snapshot
from chimera.app.replaying import Player
from chimera.domain.block import BlockBatch
from chimera.replay.frames import Start, Taken, digest
from chimera.replay.recorder import Bounds, Recorder, clocks
from chimera.replay.recording import Header, Recording
from tests.protocols.test_replay_families import RECORDINGS, Taping

OVERLAP = 6

Told = tuple[str, int, str, str]
"""(event, block, id, health factor) of one flag."""


@dataclass
class Run:
    """What a mirror did: its flags, and a digest of its state after each block."""

    first: int = 0
    told: list[Told] = field(default_factory=list)
    states: dict[bytes, str] = field(default_factory=dict)  # by block hash, once it was settled
    rollbacks: list[int] = field(default_factory=list)


def told(document: Mapping[str, Any]) -> Told:
    flag = document["flag"]
    return document["event"], document["block"], flag["id"], flag["health_factor"]


async def follow(path: Path, folder: Path | None = None) -> Run:
    """Replay a file; with `folder`, record it again on the way."""
    recording, run = Recording(path), Run()
    player = Player(recording)
    await player.begin()
    rooms = player.rooms
    markets = markets_of(rooms.chain.adapters)

    def state() -> Start:
        return snapshot(rooms)

    def header() -> Header:
        its = recording.header
        return Header(its.chain_id, its.chain_name, 2, its.protocols, clocks())

    run.first = rooms.book.block.number
    recorder = None
    if folder is not None:
        bounds = Bounds(size=1, overlap=OVERLAP)
        recorder = Recorder(folder, markets=markets, header=header, snapshot=state, bounds=bounds)
        recorder.restart()
    for frame in recording.frames():
        if not isinstance(frame, Taken):
            continue
        if recorder is not None:
            recorder.take(frame)
        run.told += [told(document) for document in await player.take(frame)]
        if isinstance(frame.message, BlockBatch):
            run.states[frame.message.block.hash] = digest(state(), markets)
        else:
            run.rollbacks.append(frame.message.ancestor.number)
        if recorder is not None:
            recorder.applied(frame.message)
            assert recorder._last is not None
            recorder._last.result(10)
    if recorder is not None:
        recorder.close()
    await rooms.chain.close()
    return run


def is_part(part: list[Told], whole: list[Told]) -> bool:
    """Tell whether one list stands in the other without a gap."""
    return any(whole[at : at + len(part)] == part for at in range(len(whole) + 1))


@pytest.mark.parametrize("name", ["aave_v3-3.6.0-14", "compound_v3-comet-13"])
def test_every_small_file_says_what_the_mirror_did(tmp_path: Path, name: str) -> None:
    taping = Taping(RECORDINGS / f"{name}.jsonl.gz", tmp_path / "whole.jsonl.gz")
    taping.run()
    taping.end()

    whole = asyncio.run(follow(tmp_path / "whole.jsonl.gz", tmp_path / "parts"))
    parts = [asyncio.run(follow(path)) for path in sorted((tmp_path / "parts").iterdir())]

    assert len(parts) > 3
    for part in parts:
        assert part.states.items() <= whole.states.items()
        assert is_part(part.told, whole.told)
    assert set().union(*(part.told for part in parts)) == set(whole.told)
    assert set().union(*(part.states for part in parts)) == whole.states.keys()
    assert set().union(*(part.rollbacks for part in parts)) == set(whole.rollbacks) != set()
