"""Carrying borrowers from one history to another: what is taken over, and what is not believed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chimera.app.borrowers import Imported, export_borrowers, import_borrowers
from chimera.domain.block import Address
from chimera.errors import Refuse, Unreachable
from chimera.settings import Settings, load
from chimera.state.rebuild import scan_name
from chimera.store.history import SqlHistory
from chimera.store.roster import Roster, read_rosters, write_rosters
from chimera.store.schema import VERSION_TABLE
from tests.fakes_store import ALICE, BOB
from tests.settings_files import ADDRESS

CAROL = Address(b"\x0c" * 20)
MARKETS = ["0x" + "aB" * 32, "0x" + "07" * 32]


class Machine:
    """A machine with a configuration and a history."""

    def __init__(self, folder: Path, *, chain: int = 8453, protocols: str = "") -> None:
        folder.mkdir()
        self.file = folder.parent / "borrowers.jsonl"
        (folder / "chimera.toml").write_text(
            f'[chain]\nid = {chain}\nname = "base"\n'
            '[rpc]\nws = ["ws://a"]\nhttp = ["http://a"]\n'
            f'[history]\nurl = "sqlite+aiosqlite:///{folder}/chimera.db"\n' + protocols
        )
        self.settings: Settings = load(folder / "chimera.toml")
        self.chain = chain

    async def record(self, users: dict[str, list[Address]], scanned: dict[str, int]) -> None:
        history = await self.opened()
        await history.record(users=users, scanned_to=scanned)
        await history.close()

    async def opened(self) -> SqlHistory:
        history = SqlHistory(self.settings.history.url, chain_id=self.chain)
        await history.open()
        return history

    async def state(self, name: str) -> tuple[list[Address], int | None, int | None]:
        history = await self.opened()
        found = (
            await history.users(name),
            await history.scanned_to(name),
            await history.scanned_to(f"{name}+suppliers"),
        )
        await history.close()
        return found

    async def export(self, **options: Any) -> Any:  # noqa: ANN401
        return await export_borrowers(self.settings, self.file, **options)

    async def take_over(self, **options: Any) -> list[Imported]:  # noqa: ANN401
        return await import_borrowers(self.settings, self.file, **options)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def protocol(
    name: str = "aave", kind: str = "aave_v3", from_block: int = 100, more: str = ""
) -> str:
    return (
        f'[[protocols]]\nname = "{name}"\nkind = "{kind}"\naddress = "{ADDRESS}"\n'
        f"from_block = {from_block}\n{more}\n"
    )


@pytest.fixture
async def old(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "old", protocols=protocol() + protocol("seamless"))
    await machine.record({"aave": [ALICE, BOB]}, {"aave": 900})
    return machine


def fresh(old: Machine, protocols: str = "", **options: Any) -> Machine:  # noqa: ANN401
    folder = old.file.parent / "new"
    return Machine(folder, protocols=protocols or protocol() + protocol("seamless"), **options)


async def test_a_new_machine_need_not_search(old: Machine) -> None:
    new = fresh(old)

    [exported] = await old.export()
    [imported] = await new.take_over()

    assert (exported.protocol, exported.users, exported.searched_to) == ("aave", 2, 900)
    assert imported == Imported("aave", 2, 2, 900, None)
    assert await new.state("aave") == ([ALICE, BOB], 900, None)


async def test_what_is_known_already_is_kept(old: Machine) -> None:
    new = fresh(old)
    await new.record({"aave": [BOB, CAROL]}, {"aave": 950, "aave+suppliers": 10})
    await old.export()

    [imported] = await new.take_over()

    assert imported == Imported("aave", 2, 1, 950, None)
    assert await new.state("aave") == ([ALICE, BOB, CAROL], 950, 10)


async def test_the_search_for_suppliers_is_carried_as_its_own(old: Machine) -> None:
    await old.record({}, {"aave+suppliers": 400})
    new = fresh(old)
    await old.export()
    await new.take_over()

    assert await new.state("aave") == ([ALICE, BOB], 900, 400)


@pytest.mark.parametrize(
    ("ours_from", "ours_to", "counts"),
    [(100, None, True), (150, None, True), (99, None, False), (50, 99, True), (50, 98, False)],
)
async def test_a_search_counts_only_where_nothing_is_left_out(
    old: Machine,
    ours_from: int,
    ours_to: int | None,
    counts: bool,  # noqa: FBT001
) -> None:
    new = fresh(old, protocol(from_block=ours_from))
    if ours_to is not None:
        await new.record({}, {"aave": ours_to})
    await old.export()

    [imported] = await new.take_over()

    users, scanned, _ = await new.state("aave")
    assert users == [ALICE, BOB]
    assert scanned == imported.searched_to == (900 if counts else ours_to)
    assert (imported.note is None) == counts
    if not counts:
        assert "began at block 100" in (imported.note or "")


@pytest.mark.parametrize(
    ("theirs", "ours", "counts"),
    [
        (None, None, True),
        (None, MARKETS, True),
        (MARKETS, MARKETS[:1], True),
        ([MARKETS[0].lower()], MARKETS[:1], True),
        (MARKETS, None, False),
        (MARKETS[:1], MARKETS, False),
    ],
)
async def test_a_search_in_fewer_markets_does_not_count(
    tmp_path: Path,
    theirs: list[str] | None,
    ours: list[str] | None,
    counts: bool,  # noqa: FBT001
) -> None:
    def morpho(markets: list[str] | None) -> str:
        more = "" if markets is None else f"markets = {markets}"
        return protocol("morpho", "morpho_blue", more=more)

    holder = Address(b"\x07" * 32 + ALICE)
    old = Machine(tmp_path / "old", protocols=morpho(theirs))
    await old.record({"morpho": [holder]}, {searched(theirs): 900})
    new = fresh(old, morpho(ours))
    await old.export()
    [imported] = await new.take_over()

    assert (await new.state("morpho"))[0] == [holder]
    history = await new.opened()
    assert await history.scanned_to(searched(ours)) == (900 if counts else None)
    await history.close()
    assert (imported.note is None) == counts


def searched(markets: list[str] | None) -> str:
    chosen = None if markets is None else [bytes.fromhex(market[2:]) for market in markets]
    return scan_name("morpho", suppliers=False, markets=chosen)


async def test_one_protocol_of_several(old: Machine) -> None:
    await old.record({"seamless": [CAROL]}, {"seamless": 800})
    new = fresh(old)
    await old.export()
    assert [its.protocol for its in read_rosters(old.file)] == ["aave", "seamless"]

    [imported] = await new.take_over(protocol="seamless")

    assert imported.protocol == "seamless"
    assert (await new.state("aave"))[0] == []
    await old.export(protocol="seamless")
    assert [its.protocol for its in read_rosters(old.file)] == ["seamless"]
    with pytest.raises(Refuse, match="has no borrowers of 'aave'"):
        await new.take_over(protocol="aave")


async def test_another_chain_is_refused(old: Machine) -> None:
    new = fresh(old, chain=10)
    await old.export()

    with pytest.raises(Refuse, match="is of chain 8453, the configuration follows 10"):
        await new.take_over()


async def test_a_protocol_that_is_not_followed_is_refused_and_nothing_is_written(
    old: Machine,
) -> None:
    await old.record({"seamless": [CAROL]}, {"seamless": 800})
    new = fresh(old, protocol())
    await old.export()

    with pytest.raises(Refuse, match=r"'seamless', which.*does not know \(it has aave\)"):
        await new.take_over()
    assert await new.state("aave") == ([], None, None)

    await new.take_over(protocol="aave")
    assert (await new.state("aave"))[0] == [ALICE, BOB]


@pytest.mark.parametrize(
    "change", [{"address": "0x" + "11" * 20}, {"kind": "compound_v2"}], ids=["address", "kind"]
)
async def test_another_contract_under_the_same_name_is_refused(
    old: Machine, change: dict[str, str]
) -> None:
    new = fresh(old)
    await old.export()
    [roster] = read_rosters(old.file)
    write_rosters(old.file, [replace(roster, **change)])  # type: ignore[arg-type]

    with pytest.raises(Refuse, match="these are not the same accounts"):
        await new.take_over()


async def test_accounts_of_the_wrong_size_are_refused(old: Machine) -> None:
    new = fresh(old)
    wide = [Address(b"\x07" * 32 + ALICE)]
    write_rosters(old.file, [Roster(8453, "aave", "aave_v3", ADDRESS, 1, None, {}, wide)])

    with pytest.raises(Refuse, match="not 20 bytes long"):
        await new.take_over()


async def test_an_export_makes_no_history(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "new", protocols=protocol())

    with pytest.raises(
        Refuse, match=r"there is no history at sqlite\+aiosqlite:.*/chimera\.db yet"
    ):
        await machine.export()
    assert names_in(tmp_path / "new") == ["chimera.toml"]


async def test_an_export_changes_nothing_in_what_is_no_history_of_ours(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "new", protocols=protocol())
    database = tmp_path / "new" / "chimera.db"
    for make, complaint in (
        ("PRAGMA user_version=0", "there is no history at"),
        ("CREATE TABLE notes (text)", "tables of another program"),
    ):
        with closing(sqlite3.connect(database)) as connection:
            connection.execute(make)
        before = database.read_bytes()

        with pytest.raises((Refuse, Unreachable), match=complaint):
            await machine.export()
        assert database.read_bytes() == before


async def test_an_export_leaves_the_upgrade_to_the_daemon(old: Machine) -> None:
    database = old.file.parent / "old" / "chimera.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0001'")  # noqa: S608

    with pytest.raises(Unreachable, match="older version, which `chimera run` brings up to date"):
        await old.export()
    await old.state("aave")
    assert [its.users for its in await old.export()] == [2]


async def test_a_history_that_knows_nobody_is_not_exported(old: Machine) -> None:
    new = fresh(old)
    await new.record({}, {})

    with pytest.raises(Refuse, match="knows no borrowers yet"):
        await new.export()
    assert not old.file.exists()


async def test_beside_a_running_daemon_there_is_export_and_no_import(old: Machine) -> None:
    daemon = await old.opened()
    await daemon.claim()
    await old.export()

    with pytest.raises(Refuse, match=r"another chimera \(process \d+\).*stop it first"):
        await old.take_over()

    await daemon.close()
    await old.take_over()
