"""What stands in Redis, in SQL and in files: ours, changed, or somebody else's."""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
import zlib
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakeredis import FakeAsyncRedis
from hypothesis import strategies as st

from chimera.app.borrowers import import_borrowers
from chimera.cli import views
from chimera.cli.filters import Filters
from chimera.domain.position import Position
from chimera.errors import ChimeraError
from chimera.publish.fanout import STREAM, Entry, FlagStream, _is_news
from chimera.replay.recording import Recording
from chimera.settings import load
from chimera.state.cache_redis import RedisPositions
from chimera.store.history import SqlHistory
from chimera.store.roster import Roster, read_rosters, write_rosters
from tests.fakes_api import ALICE, FLAG, SAFE, UNDER
from tests.fakes_replay import MARKETS, write
from tests.fakes_store import ALICE as HOLDER
from tests.fakes_store import BOB, checkpoint, opportunity
from tests.fuzz.fuzzing import Draw, Fuzz, rarely, spoiled, spoiled_json
from tests.settings_files import ADDRESS, BASE

FILTERS: tuple[Filters, ...] = (
    Filters(),
    Filters(protocol="aave"),
    Filters(user=ALICE),
    Filters(asset=ALICE),
)
FILTERS += (Filters(max_health_factor="1.1"),)


# --- Redis ---------------------------------------------------------------------------------------


def test_positions_in_redis(fuzz: Fuzz, capsys: pytest.CaptureFixture[str]) -> None:
    with asyncio.Runner() as runner:
        client = FakeAsyncRedis()
        positions = RedisPositions(client, ttl=60)

        async def found(key: bytes, value: bytes) -> list[Position]:
            await client.flushall()
            await client.set(key, value)
            await client.set(b"position:aave:good", msgspec.json.encode(UNDER))
            return await positions.read_all()

        def hold(draw: Draw) -> None:
            key = b"position:aave:" + draw(st.one_of(st.just(b"a"), st.binary(max_size=9)))
            value = spoiled_json(draw, asdict(SAFE))
            published = runner.run(found(key, value))
            assert UNDER in published
            listed = draw(st.sampled_from(FILTERS)).applied(published, len(published))
            items = [position.document() for position in listed]
            assert [Position.from_document(item) for item in items] == listed
            page = {"block": 120, "items": items, "next_cursor": None}
            views.print_positions(page)
            views.print_json(page)
            capsys.readouterr()
            again = msgspec.json.decode(msgspec.json.encode(listed), type=list[Position])
            assert again == listed

        fuzz(hold)


def test_flags_in_redis(fuzz: Fuzz) -> None:
    entry, ours = Entry(FLAG, is_reminder=True), json.dumps(FLAG.document())

    with asyncio.Runner() as runner:
        client: Any = FakeAsyncRedis(decode_responses=True, encoding_errors="replace")

        async def newest(fields: Mapping[bytes, bytes]) -> dict[str, str]:
            await client.flushall()
            await client.xadd(STREAM, fields)
            stream = FlagStream("redis://nowhere", chain_id=1)
            return await stream._newest_documents(client)

        def hold(draw: Draw) -> None:
            document = spoiled_json(draw, FLAG.document())
            fields = {b"id": FLAG.id.encode(), b"document": document, b"event": b"flagged"}
            if rarely(draw, one_in=4):
                fields = {spoiled(draw, name): spoiled(draw, it) for name, it in fields.items()}
            for told in runner.run(newest(fields)).values():
                assert _is_news(entry, ours, told) in (True, False)

        fuzz(hold)


# --- SQL -----------------------------------------------------------------------------------------


def test_rows(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "chimera.db"
    history = SqlHistory(f"sqlite+aiosqlite:///{path}", chain_id=1)
    flag, streaks = opportunity().document(), {"aave": {HOLDER.hex(): [5, 2]}}

    async def reopened() -> None:
        await history.open()
        await history.save(checkpoint(102), [opportunity()])

    async def read() -> None:
        for of in (history.checkpoints(), history.opportunities(9), history.users("aave")):
            with suppress(ChimeraError):
                await of

    def hold(draw: Draw) -> None:
        with closing(sqlite3.connect(path)) as database, database:
            if draw(st.booleans()):
                told = spoiled_json(draw, flag).decode(errors="replace")
                database.execute("UPDATE opportunities SET document = ?", [told])
            else:
                told = spoiled_json(draw, streaks).decode(errors="replace")
                database.execute("UPDATE checkpoints SET streaks = ?", [told])
        runner.run(read())

    with asyncio.Runner() as runner:
        runner.run(reopened())
        fuzz(hold)
        runner.run(history.close())


# --- files ---------------------------------------------------------------------------------------


def test_recording_files(fuzz: Fuzz, tmp_path: Path) -> None:
    """Spoiled bytes, and spoiled lines whose checksum fits."""
    whole = write(tmp_path / "whole.gz").read_bytes()
    lines = [line.split(b" ", 1)[1] for line in gzip.decompress(padded(whole)).splitlines()]

    def hold(draw: Draw) -> None:
        path = tmp_path / "spoiled.gz"
        if rarely(draw, one_in=3):
            path.write_bytes(spoiled(draw, whole))
        else:
            texts, place = list(lines), draw(st.integers(0, len(lines) - 1))
            texts[place] = spoiled_json(draw, json.loads(texts[place]))
            text = b"".join(b"%08x %s\n" % (zlib.crc32(text), text) for text in texts)
            path.write_bytes(gzip.compress(text, 1))
        try:
            recording = Recording(path)
            recording.start(MARKETS)
            for _ in recording.frames():
                pass
        except ChimeraError as error:
            said = str(error)
        else:
            said = str(path)
        assert str(path) in said

    fuzz(hold)


def padded(whole: bytes) -> bytes:
    """The recording's stream has no end: nobody closed it."""
    unpacker = zlib.decompressobj(31)
    return gzip.compress(unpacker.decompress(whole))


def test_borrowers_files(fuzz: Fuzz, tmp_path: Path) -> None:
    config, path = tmp_path / "chimera.toml", tmp_path / "spoiled.jsonl"
    config.write_text(f'[history]\nurl = "sqlite+aiosqlite:///{tmp_path}/b.db"\n{BASE}')
    settings = load(config)
    whole = tmp_path / "whole.jsonl"
    one = Roster(8453, "aave", "aave_v3", ADDRESS, 100, None, {"borrowers": 900}, [HOLDER, BOB])
    write_rosters(whole, [one])
    header, *holders = whole.read_bytes().splitlines()

    def hold(draw: Draw) -> None:
        if rarely(draw, one_in=3):
            path.write_bytes(spoiled(draw, whole.read_bytes()))
        else:
            path.write_bytes(signed(spoiled_json(draw, json.loads(header)), holders))
        try:
            found = read_rosters(path)
            runner.run(import_borrowers(settings, path))
        except ChimeraError:
            return
        write_rosters(tmp_path / "again.jsonl", found)
        assert read_rosters(tmp_path / "again.jsonl") == found

    with asyncio.Runner() as runner:
        fuzz(hold)


def signed(header: bytes, holders: list[bytes]) -> bytes:
    """A header whose checksum fits, if it can have one."""
    try:
        document = json.loads(header)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        document.pop("sha256", None)
        told = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        rest = b"".join(line + b"\n" for line in holders)
        document["sha256"] = sha256(told + b"\n" + rest).hexdigest()
        header = json.dumps(document).encode()
    return b"\n".join([header, *holders, b""])
