"""What fuzzing has found, each as it was found."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing
from dataclasses import asdict, replace
from gzip import compress
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakeredis import FakeAsyncRedis
from msgspec import structs

from chimera.api.server import build_app
from chimera.domain.health import Health
from chimera.errors import Rebuild, Refuse, Unreachable
from chimera.protocols.aave_v3 import events, proof
from chimera.protocols.compound_v2.reading import _decimals
from chimera.publish.fanout import Entry, _is_news
from chimera.registry import BUILT_IN
from chimera.replay.recording import Damaged, Recording
from chimera.rpc.announcements import Conversation
from chimera.rpc.faults import Garbled, NodeError, UnknownBlock, fault_of, pause_asked_for
from chimera.rpc.wire import TEXT, quantity
from chimera.state.cache_redis import RedisPositions
from chimera.store.history import SqlHistory
from chimera.store.roster import Roster, read_rosters, write_rosters
from tests.fakes_api import UNDER, Client, FakeOperator, FakeOpportunities, FakePositions
from tests.fakes_chain import ScriptedClient, saying
from tests.fakes_replay import MARKETS, write
from tests.fakes_store import checkpoint, opportunity
from tests.fuzz.scenes import lives_of
from tests.protocols.conformance import play
from tests.settings_files import ADDRESS, refusal, replaced, with_section

NINES = "9" * 5_000  # digits; Python refuses to read or write so many at once
NESTED = "[" * 200_000 + "]" * 200_000


# --- nodes ---------------------------------------------------------------------------------------


def test_a_node_names_a_height_without_end() -> None:
    said = f"block height is 5 but requested was {NINES}"

    assert not isinstance(fault_of(NodeError(-32000, said), "eth_call"), UnknownBlock)


@pytest.mark.parametrize(("told", "seconds"), [(NINES, 60), ("0" * 5_000 + "7", 7)])
def test_a_node_asks_for_a_pause_without_end(told: str, seconds: float) -> None:
    assert pause_asked_for(429, told) == seconds


async def test_a_node_nests_its_error_without_end() -> None:
    body = f'{{"id": 1, "error": {{"code": 1, "data": {NESTED}}}}}'
    client = ScriptedClient(saying(body.encode()), attempts=1)

    with pytest.raises(Garbled):
        await client.call("eth_chainId", [], TEXT, purpose="check")


def test_a_socket_nests_its_frame_without_end() -> None:
    talk = Conversation(silence=None, timeout=5.0, now=0.0)

    with pytest.raises(Garbled):
        list(talk.take([f'{{"id": 1, "error": {{"code": 1, "data": {NESTED}}}}}'], 1.0))


def test_a_chain_id_that_nobody_can_write() -> None:
    talk = Conversation(silence=None, timeout=5.0, now=0.0, chain_id=1)

    with pytest.raises(Garbled):
        list(talk.take([json.dumps({"id": 1, "result": f"0x{NINES}"})], 1.0))
    assert quantity("0x" + "f" * 64) == 2**256 - 1


# --- protocols -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", sorted(BUILT_IN))
def test_a_log_of_discovery_lacks_its_user(family: str) -> None:
    life = lives_of(family)[-1]
    query = life.adapter.discovery(life.scenes[-1].market, suppliers=True)
    lines = life.replay.recording.lines
    log = next(log for line in lines for log in line.logs_of(query))
    assert life.adapter.users_in([log], suppliers=True)

    with pytest.raises(Rebuild):
        life.adapter.users_in(
            [structs.replace(log, topics=log.topics[:1], data=b"")], suppliers=True
        )


@pytest.mark.parametrize("topic", [events.MINT, events.BURN, events.RESERVE_DATA_UPDATED])
def test_a_log_of_a_pool_has_an_index_of_nothing(topic: bytes) -> None:
    life = lives_of("aave_v3")[-1]
    scene = life.scenes[-1]
    log = structs.replace(life.donors[topic], data=bytes(len(life.donors[topic].data)))

    with pytest.raises(Rebuild, match="an index in it is 0"):
        play(life.adapter, scene.book(), replace(scene.batch, logs=(log,)))


@pytest.mark.parametrize(("told", "places"), [(2**256 - 1, 0), (78, 0), (77, 77), (6, 6)])
def test_a_token_has_more_decimals_than_an_amount_has_digits(told: int, places: int) -> None:
    assert _decimals(told.to_bytes(32, "big")) == places


def test_a_view_that_answers_half_is_not_said_to_answer() -> None:
    [difference] = proof.differences(
        Health(factor=None, collateral=0, debt=0, threshold="0"), bytes(64)
    )

    assert difference.ours != difference.theirs


# --- HTTP ----------------------------------------------------------------------------------------


async def test_a_page_of_half_an_address_asks_for_a_rebuild() -> None:
    app = build_app(
        positions=FakePositions(),
        opportunities=FakeOpportunities(),
        operator=FakeOperator(),
        metrics_text=lambda: b"",
    )

    answer = await Client(app).post("/v1/rebuild", {}, headers={"origin": "http://[::1"})

    assert (answer.status, answer.error["code"]) == (403, "forbidden")


# --- Redis ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field", ["health_factor", "liquidation_threshold", "collateral.value", "debt.value", "nested"]
)
async def test_a_position_in_redis_is_not_ours(field: str) -> None:
    client = FakeAsyncRedis()
    document = asdict(UNDER)
    outer, _, inner = field.partition(".")
    if inner:
        document[outer][0][inner] = "lots"
    else:
        document[outer] = "lots"
    text = json.dumps(document) if field != "nested" else f'{{"more": {NESTED}}}'
    await client.set("position:aave:odd", text)
    await client.set(b"position:aave:\x80", b"{}")
    await client.set("position:aave:good", msgspec.json.encode(UNDER))

    assert await RedisPositions(client, ttl=60).read_all() == [UNDER]


def test_a_flag_in_redis_nests_without_end() -> None:
    entry = Entry(opportunity(), is_reminder=True)

    assert _is_news(entry, '{"state": "open"}', NESTED)


# --- SQL -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", ["{", "[]", '"text"', '{"aave": {"zz": [1, 2]}}', '{"aave": 1}'])
async def test_a_row_is_not_ours(tmp_path: Path, told: str) -> None:
    path = tmp_path / "chimera.db"
    history = SqlHistory(f"sqlite+aiosqlite:///{path}", chain_id=1)
    await history.open()
    await history.save(checkpoint(102), [opportunity()])
    assert await history.opportunities(1) == [opportunity()]
    assert await history.checkpoints() == [checkpoint(102)]

    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE opportunities SET document = ?", [told])
        database.execute("UPDATE checkpoints SET streaks = ?", [told])

    with pytest.raises(Unreachable, match="an episode that cannot be read"):
        await history.opportunities(1)
    if told != "[]":
        with pytest.raises(Unreachable, match="a checkpoint that cannot be read"):
            await history.checkpoints()
    await history.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://h:1:2",
        "sqlite+aiosqlite:///{folder}/a.db?timeout=x",
        "postgresql+asyncpg://127.0.0.1:1/x?foo=1",
    ],
)
async def test_the_url_of_a_history_is_nothing_for_its_driver(tmp_path: Path, url: str) -> None:
    with pytest.raises(Unreachable):
        await SqlHistory(url.replace("{folder}", str(tmp_path)), chain_id=1).open()


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "section",
    [
        '[history]\nurl = "sqlite+aiosqlite:///a\\u0000b"',
        f"[reconcile]\nwithin = 0x{NINES}",
        f"[log]\nlevel = 0x{NINES}",
    ],
)
def test_a_setting_that_nothing_can_hold(tmp_path: Path, section: str) -> None:
    refusal(with_section(tmp_path / "chimera.toml", section))


@pytest.mark.parametrize("number", ["0x" + NINES, "0x" + "f" * 16])
def test_a_chain_that_no_database_has_a_number_for(tmp_path: Path, number: str) -> None:
    refusal(replaced(tmp_path / "chimera.toml", "8453", number))


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["true", NESTED, "[]"])
def test_a_line_of_a_recording_is_no_object(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spoiled.gz"
    path.write_bytes(compress(b"%08x %s\n" % (zlib.crc32(text.encode()), text.encode())))

    with pytest.raises(Damaged):
        Recording(path)


def test_a_line_of_a_recording_lacks_a_value(tmp_path: Path) -> None:
    unpacked = zlib.decompressobj(31).decompress(write(tmp_path / "whole.gz").read_bytes())
    lines = [line.split(b" ", 1)[1].decode() for line in unpacked.splitlines()]
    lines[1] = json.dumps({**json.loads(lines[1]), "block": [1, None, None, 2]})
    path = tmp_path / "spoiled.gz"
    texts = [line.encode() for line in lines]
    path.write_bytes(compress(b"".join(b"%08x %s\n" % (zlib.crc32(t), t) for t in texts)))

    with pytest.raises(Damaged):
        Recording(path).start(MARKETS)


def header_of(path: Path) -> dict[str, Any]:
    """Write a list of borrowers without anybody in it, and return its header."""
    write_rosters(path, [Roster(1, "aave", "aave_v3", ADDRESS, 100, None, {"borrowers": 9}, [])])
    header: dict[str, Any] = json.loads(path.read_text())
    del header["sha256"]
    return header


def write_header(path: Path, header: dict[str, Any]) -> None:
    """Write it with a checksum that fits."""
    told = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    path.write_text(json.dumps({**header, "sha256": sha256(told + b"\n").hexdigest()}))


def test_a_list_of_borrowers_says_nothing_of_markets(tmp_path: Path) -> None:
    path = tmp_path / "borrowers.jsonl"
    header = header_of(path)
    write_header(path, header)
    assert len(read_rosters(path)) == 1

    del header["markets"]
    write_header(path, header)

    with pytest.raises(Refuse, match="the header is incomplete"):
        read_rosters(path)


@pytest.mark.parametrize("name", ["from_block", "chain_id", "scanned_to"])
def test_a_list_of_borrowers_has_a_number_that_no_database_holds(tmp_path: Path, name: str) -> None:
    path = tmp_path / "borrowers.jsonl"
    write_header(path, {**header_of(path), name: {"borrowers": 2**63} if "_to" in name else 2**63})

    with pytest.raises(Refuse, match="the header is incomplete"):
        read_rosters(path)


def test_a_list_of_borrowers_nests_without_end(tmp_path: Path) -> None:
    path = tmp_path / "borrowers.jsonl"
    path.write_text(NESTED)

    with pytest.raises(Refuse, match="this is no list of borrowers"):
        read_rosters(path)
