"""The published positions in memory: what Redis would say, of what the book has anyway."""

from __future__ import annotations

import os

from eth_utils.address import to_checksum_address

from chimera.domain.block import Address
from chimera.state.cache_memory import REMEMBERED, MemoryPositions
from chimera.state.valuation import Finished, checksummed, key_in, name_of
from tests.fakes_state import ALICE, BOB, Clock
from tests.unit.test_state_isolated import ONE, TWO, Room, held, named

NAME = name_of(named(TWO), checksummed(ALICE))


def room() -> tuple[Room, MemoryPositions, Clock]:
    made, clock = Room(), Clock()
    made.engine.adopt()
    return made, MemoryPositions(ttl=60, clock=clock), clock


async def test_drafts_are_read_as_they_would_be_published() -> None:
    made, memory, _ = room()
    made.streaks.lengths[named(TWO), ALICE] = 3
    mirror = made.engine.mirror
    drafts = mirror.drafts(mirror.roll().between(0, 9))

    assert memory.write(drafts) == 4
    assert {entry.user for entry in await memory.read_all()} == {
        checksummed(ALICE),
        checksummed(BOB),
    }
    for draft in drafts:
        assert memory.read(draft.name) == draft.position()
    assert sorted(await memory.names()) == sorted(draft.name for draft in drafts)
    found = memory.read(NAME)
    assert found is not None
    assert found.blocks_unhealthy == 3
    assert memory.read(NAME) is found  # valued once
    assert memory.read(NAME.lower()) is None  # no name of a key


async def test_a_draft_and_what_somebody_wrote_share_one_key() -> None:
    made, memory, clock = room()
    draft = made.engine.mirror.draft(("blue", held(TWO, ALICE)))
    assert draft is not None
    old = draft.position()
    later = Finished(type(old).from_document({**old.document(), "block": old.block + 1}))

    assert memory.write([draft]) == memory.write([later]) == 1
    assert memory.read(NAME) == later.content
    assert memory.write([draft]) == 0
    assert memory.write([draft], over=later.block) == 1
    assert memory.read(NAME) == old
    assert len(await memory.names()) == 1
    clock.now += 60
    assert memory.read(NAME) is None
    assert memory.remove([NAME]) == 0


def test_the_dead_are_dropped_while_others_are_written() -> None:
    made, memory, clock = room()
    mirror = made.engine.mirror
    memory.write(mirror.drafts([("blue", held(ONE, ALICE)), ("blue", held(TWO, BOB))]))
    clock.now += 60
    for _ in range(4):
        memory.write(mirror.drafts([("pool", ALICE)]))

    assert [len(entries) for entries in memory._entries.values()] == [0, 0, 1]


def test_valued_positions_are_remembered_within_bounds() -> None:
    made, memory, _ = room()
    draft = made.engine.mirror.draft(("pool", ALICE))
    assert draft is not None
    memory.write([draft])
    memory._valued = dict.fromkeys(range(REMEMBERED))  # type: ignore[arg-type,assignment]

    assert memory.read(draft.name) == draft.position()
    assert len(memory._valued) == 1


def test_checksums_are_those_of_eip_55_and_names_lead_back() -> None:
    for _ in range(200):
        address = Address(os.urandom(20))
        text = checksummed(address)
        assert text == to_checksum_address(address)
        assert key_in(name_of("aave", text)) == ("aave", address)
        if text != text.lower():  # else its checksum is one without a capital
            assert key_in(name_of("aave", text.lower())) == ("aave", text.lower())
