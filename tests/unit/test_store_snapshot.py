"""The file of accounts: all of it comes back as it was, or none of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.synthetic import Borrowers, make_market
from chimera.domain.block import Address
from chimera.domain.market import EMPTY, Account, Holder
from chimera.errors import Skip
from chimera.store import snapshot_codec
from chimera.store.snapshot_codec import Decoder, Names
from chimera.store.snapshot_file import (
    DIGEST_BYTES,
    LENGTH_BYTES,
    MAGIC,
    Draft,
    Identity,
    Instance,
    Snapshot,
    place_of,
    read_content,
    read_header,
    read_snapshot,
)
from tests.fakes_state import ALICE, BOB, CAROL, ENTRY, USDC, WETH, first_block

BLOCK = first_block()
OURS = Instance("ours", "aave_v3", ENTRY, None, complete=False)
IDENTITY = Identity("1.0", 31337, (OURS,))
BEGIN = len(MAGIC) + DIGEST_BYTES
MARKET = Address(b"\x77" * 32)
LARGEST = 2**256 - 1

amounts = st.one_of(
    st.integers(1, LARGEST),
    st.sampled_from([2**64 - 1, 2**64, 2**64 + 1, 2**128, 2**192 << 32, LARGEST]),
)
assets = st.sampled_from([WETH, USDC, ENTRY, MARKET])
sides = st.dictionaries(assets, amounts, max_size=4)
accounts_of_any_family = st.builds(
    Account,
    supplied=sides,
    owed=sides,
    enabled=st.frozensets(assets),
    mode=st.integers(0, 255),
    updated_block=st.integers(0, 2**40),
    marks=sides,
)


def saved(
    path: Path,
    *parts: tuple[Mapping[Holder, Account], bytes],
    identity: Identity = IDENTITY,
) -> Path:
    draft = Draft(identity, BLOCK)
    for accounts, vacant in parts:
        for _ in draft.add(accounts.items(), vacant):
            pass
    draft.save(path)
    return path


def read(path: Path, identity: Identity = IDENTITY) -> Snapshot:
    content = read_content(path)
    return read_snapshot(content, read_header(content, identity))


def refusal(path: Path, identity: Identity = IDENTITY) -> str:
    with pytest.raises(Skip) as refused:
        read(path, identity)
    return str(refused.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two accounts of one shape, one of another, and one who has none."""
    some = Account({WETH: 2**80}, {USDC: 7}, frozenset({WETH}), 1, 90)
    everybody = {ALICE: some, BOB: some.but(supplied={WETH: 5}), CAROL: Account({WETH: 1})}
    return saved(tmp_path / "book.snapshot", (everybody, ENTRY))


@pytest.mark.parametrize("size", [20, 52])
@settings(deadline=None)  # each waits until the disk has the file
@given(everybody=st.lists(accounts_of_any_family, max_size=12))
def test_every_account_comes_back_as_it_was(
    everybody: list[Account], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"{size}.snapshot"
    held = {Address(n.to_bytes(size, "big")): account for n, account in enumerate(everybody, 1)}
    nobody = bytes(size) + b"\xff" * size

    found = read(saved(path, (held, nobody)))

    assert found.block == BLOCK
    accounts, vacant = found.protocols["ours"]
    assert accounts == held
    assert [repr(account) for account in held.values()] == [repr(accounts[h]) for h in held]
    assert all(type(account) is Account for account in accounts.values())
    assert all(accounts[holder].shape is held[holder].shape for holder in held)
    assert vacant == ({Address(bytes(size)), Address(b"\xff" * size)} if held else set())


def test_more_accounts_than_a_page_has_come_back(tmp_path: Path) -> None:
    held = Borrowers(make_market()).make(3 * snapshot_codec.PAGE)
    held[ALICE] = EMPTY

    assert read(saved(tmp_path / "many", (held, b""))).protocols["ours"].accounts == held


def test_protocols_do_not_mix(tmp_path: Path) -> None:
    identity = Identity("1.0", 1, (OURS, msgspec.structs.replace(OURS, name="theirs")))
    isolated = {Address(MARKET + ALICE): Account({MARKET: 3}, marks={MARKET: 9})}
    path = saved(tmp_path / "two", ({ALICE: EMPTY}, BOB), (isolated, b""), identity=identity)

    found = read(path, identity).protocols

    assert found["ours"] == ({ALICE: EMPTY}, {BOB})
    assert found["theirs"] == (isolated, set())


def test_a_flipped_bit_anywhere_is_seen(file: Path) -> None:
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]
        )
        expected = "it is no snapshot" if place < len(MAGIC) else "it is damaged"
        assert refusal(file).startswith(expected)


def test_a_file_that_is_cut_off_or_goes_on_is_seen(file: Path) -> None:
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        refusal(file)
    file.write_bytes(whole + b"\0")
    assert refusal(file) == "it is damaged"


def test_another_content_under_a_digest_of_its_own_breaks_nothing_but_the_file(file: Path) -> None:
    """Somebody else's program may have written it: it says something else, or is refused."""
    whole, told = file.read_bytes()[BEGIN:], []
    for place in range(len(whole)):
        for flip in (1, 0x80, 0xFF):
            other = whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :]
            file.write_bytes(MAGIC + sha256(other).digest() + other)
            try:
                read(file)
            except Skip as refused:
                told.append(str(refused))
    assert len({why.partition(":")[0] for why in told}) >= 4


def lie(file: Path, old: bytes, new: bytes) -> None:
    whole = file.read_bytes()[BEGIN:]
    assert old in whole
    other = whole.replace(old, new)
    file.write_bytes(MAGIC + sha256(other).digest() + other)


def test_accounts_that_cannot_be_are_refused(tmp_path: Path) -> None:
    amount = (7).to_bytes(8, "little")
    path = saved(tmp_path / "zero", ({ALICE: Account({WETH: 7})}, b""))
    lie(path, amount, bytes(8))
    assert "an amount of 0" in refusal(path)

    path = saved(tmp_path / "twice", ({ALICE: EMPTY, BOB: EMPTY}, b""))
    lie(path, BOB, ALICE)
    assert "somebody has two accounts" in refusal(path)

    kinds = (0).to_bytes(4, "little") + (1).to_bytes(4, "little")
    path = saved(tmp_path / "kind", ({ALICE: Account({WETH: 7}), BOB: Account({USDC: 7})}, b""))
    lie(path, kinds, kinds[:4] + b"\x02\0\0\0")
    assert "out of bounds" in refusal(path)

    place = (1).to_bytes(4, "little") + (1).to_bytes(8, "little")
    path = saved(tmp_path / "long", ({ALICE: Account({WETH: 7}), BOB: Account({WETH: 2**64})}, b""))
    lie(path, place, b"\x02\0\0\0" + place[4:])
    assert "out of bounds" in refusal(path)

    path = saved(tmp_path / "width", ({ALICE: EMPTY, BOB: Account({WETH: 7})}, b""))
    content = path.read_bytes()
    second = content.index(BOB) + len(BOB)
    assert content[second : second + 4] == b"\x01\0\0\0"
    lie(path, content[second - 20 : second + 4], BOB + bytes(4))
    assert "another number of amounts" in refusal(path)


def test_shapes_that_are_not_whole_are_refused() -> None:
    names = Names((WETH,), ((0,), ()), ((),), (0,), (1,), (1,), (0,), (0,))
    assert Decoder(names, 20).accounts == {}

    for part in ("supplied", "owed", "marks", "enabled", "modes"):
        with pytest.raises(ValueError, match="lacks some of its parts"):
            Decoder(msgspec.structs.replace(names, **{part: (0, 0)}), 20)


def other(**parts: Any) -> Identity:  # noqa: ANN401  (those of an identity)
    return msgspec.structs.replace(IDENTITY, **parts)


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        (other(chimera="1.1"), "it is of version 1.0"),
        (other(chain_id=1), "it is of chain 31337"),
        (other(instances=()), "it is of other protocols"),
        (other(instances=(OURS, OURS)), "it is of other protocols"),
        *(
            (other(instances=(msgspec.structs.replace(OURS, **part),)), "it is of other protocols")
            for part in (
                {"name": "theirs"},
                {"kind": "morpho_blue"},
                {"address": WETH},
                {"markets": (MARKET,)},
                {"complete": True},
            )
        ),
    ],
)
def test_a_file_of_something_else_is_refused(file: Path, identity: Identity, reason: str) -> None:
    assert refusal(file, identity) == reason


def test_another_format_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"snapshot 2", b"snapshot 3", 1))

    assert refusal(file) == "it is no snapshot of this version"


def test_a_header_that_is_none_is_refused(file: Path) -> None:
    other = bytes(LENGTH_BYTES)
    file.write_bytes(MAGIC + sha256(other).digest() + other)

    assert refusal(file).startswith("its header is none")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "it cannot be read: Is a directory"


def test_a_disk_that_fails_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        saved(file, ({ALICE: Account({WETH: 8})}, b""))
    assert file.read_bytes() == before


def test_a_file_stands_beside_a_history_that_is_a_file() -> None:
    assert place_of("sqlite+aiosqlite:////var/lib/chimera.db", 8453) == Path(
        "/var/lib/chimera.db.8453.snapshot"
    )
    assert place_of("sqlite+aiosqlite:///:memory:", 8453) is None
    assert place_of("sqlite+aiosqlite://", 8453) is None
    assert place_of("postgresql+asyncpg://user@host/name", 8453) is None


def test_the_block_is_that_of_the_book(tmp_path: Path) -> None:
    block = replace(BLOCK, timestamp=BLOCK.timestamp + 1)
    draft = Draft(IDENTITY, block)
    list(draft.add((), b""))
    draft.save(tmp_path / "one")

    assert read(tmp_path / "one").block == block
