"""The file of borrowers: what is written comes back, and nothing else does."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from chimera.domain.block import Address
from chimera.errors import Refuse
from chimera.store.roster import Roster, read_rosters, write_rosters
from tests.fakes_store import ALICE, BOB

POOL = "0xe20fCBdBfFC4Dd138cE8b2E6FBb6CB49777ad64D"
MARKET = "0x" + "07" * 32
AAVE = Roster(8453, "aave", "aave_v3", POOL, 100, None, {"borrowers": 900}, [ALICE, BOB])
MORPHO = Roster(
    8453,
    "morpho",
    "morpho_blue",
    POOL,
    50,
    (MARKET,),
    {"suppliers": 800, "borrowers": 700},
    [Address(b"\x07" * 32 + ALICE)],
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "borrowers.jsonl"
    write_rosters(path, [AAVE, MORPHO])
    return path


@pytest.mark.parametrize("name", ["borrowers.jsonl", "borrowers.jsonl.gz"])
def test_what_is_written_comes_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / name

    write_rosters(path, [AAVE, MORPHO])

    assert read_rosters(path) == [AAVE, MORPHO]
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    assert list(tmp_path.iterdir()) == [path]


def test_a_compressed_file_is_known_by_its_content(file: Path) -> None:
    file.write_bytes(gzip.compress(file.read_bytes()))

    assert read_rosters(file) == [AAVE, MORPHO]


def test_every_line_is_json_and_the_headers_say_what_follows(file: Path) -> None:
    lines = [json.loads(line) for line in file.read_text().splitlines()]

    assert lines[1:3] == [f"0x{ALICE.hex()}", f"0x{BOB.hex()}"]
    assert lines[0]["format"] == "chimera-borrowers"
    assert (lines[0]["part"], lines[0]["parts"], lines[0]["count"]) == (1, 2, 2)
    assert lines[3]["scanned_to"] == {"suppliers": 800, "borrowers": 700}
    assert lines[3]["markets"] == [MARKET]


def test_a_header_may_be_written_in_any_order(file: Path) -> None:
    first, *rest = file.read_text().splitlines()
    turned = dict(reversed(json.loads(first).items()))
    file.write_text("\n".join([json.dumps(turned, indent=None), *rest]) + "\n")

    assert read_rosters(file) == [AAVE, MORPHO]


def line(number: int, change: Callable[[str], str]) -> Callable[[str], str]:
    def damage(text: str) -> str:
        lines = text.splitlines()
        lines[number] = change(lines[number])
        return "\n".join(lines) + "\n"

    return damage


def header(**changes: object) -> Callable[[str], str]:
    return line(0, lambda text: json.dumps({**json.loads(text), **changes}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda _: "", "no list of borrowers"),
        (lambda _: "a letter to a friend\n", "no list of borrowers"),
        (lambda _: "[1, 2]\n", "no list of borrowers"),
        (lambda text: text[:-30], "line 5 is no holder"),
        (lambda text: "".join(text.splitlines(keepends=True)[:2]), "the end is missing"),
        (lambda text: "".join(text.splitlines(keepends=True)[:3]), "part 2 has no header"),
        (lambda text: text + '"0x00"\n', "line 6 comes after the last part"),
        (
            line(1, lambda text: text[:-2] + f'{int(text[-2], 16) ^ 1:x}"'),
            "checksum of aave does not fit",
        ),
        (line(1, lambda _: "0x"), "line 2 is no holder"),
        (line(1, lambda text: text.upper()), "line 2 is no holder"),
        (line(2, lambda _: f'"0x{ALICE.hex()}"'), "checksum of aave"),
        (header(scanned_to={"borrowers": 901}), "checksum of aave"),
        (header(from_block=0), "checksum of aave"),
        (header(chain_id=1), "checksum of aave"),
        (header(count=1), "checksum of aave"),
        (header(count=-1), "header is incomplete"),
        (header(count=True), "header is incomplete"),
        (header(scanned_to={"borrowers": "900"}), "header is incomplete"),
        (header(markets="all"), "header is incomplete"),
        (header(part=2), "header is incomplete"),
        (header(sha256=None), "header is incomplete"),
    ],
)
def test_a_damaged_file_is_refused_with_what_to_do(
    file: Path, damage: Callable[[str], str], said: str
) -> None:
    file.write_text(damage(file.read_text()))

    with pytest.raises(Refuse, match=said) as refused:
        read_rosters(file)
    assert "export it again" in str(refused.value)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_compressed_file_that_is_cut_off_is_refused(file: Path, cut: int) -> None:
    file.write_bytes(gzip.compress(file.read_bytes())[:-cut])

    with pytest.raises(Refuse, match="cut off or damaged: copy or export it again"):
        read_rosters(file)


def test_bytes_that_are_no_text_are_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe" + file.read_bytes())

    with pytest.raises(Refuse, match="cut off or damaged"):
        read_rosters(file)


def test_a_newer_format_says_that_chimera_is_to_be_updated(file: Path) -> None:
    file.write_text(header(version=2)(file.read_text()))

    with pytest.raises(Refuse, match=r"version 2 of the format.*update Chimera"):
        read_rosters(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refuse, match=r"nowhere.jsonl cannot be read: No such file"):
        read_rosters(tmp_path / "nowhere.jsonl")


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    with pytest.raises(Refuse, match="cannot be written"):
        write_rosters(tmp_path / "nowhere" / "borrowers.jsonl", [AAVE])
    folder = tmp_path / "borrowers.jsonl"
    folder.mkdir()
    with pytest.raises(Refuse, match="cannot be written: Is a directory"):
        write_rosters(folder, [AAVE])
    assert list(tmp_path.iterdir()) == [folder]
