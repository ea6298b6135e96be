"""What an operator may write into a configuration file, `.env` or the environment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from chimera.errors import Refuse
from chimera.settings import load
from chimera.settings.layers import dotenv, variable_names
from tests.fuzz.fuzzing import EDGES, TEXTS, Draw, Fuzz, rarely, spoiled

SHIPPED = Path(__file__).parents[2] / "config"
FULL = """\
[chain]
id = 8453
name = "base"
block_time = 2.0
[rpc]
ws = ["ws://127.0.0.1:8545", "wss://node.example/v2/key"]
http = ["http://127.0.0.1:8545"]
max_log_range = 2000
max_backfill_blocks = 5000
quorum = 1
[redis]
url = "redis://:secret@127.0.0.1:6379/0"
ttl = 60
[history]
url = "sqlite+aiosqlite:///chimera.db?timeout=5"
[detection]
confirmation_blocks = 2
watch_below = "1.10"
[reconcile]
enabled = true
within = 600
[http]
listen = "[::1]:9650"
[log]
level = "info"
[[protocols]]
name = "blue"
kind = "morpho_blue"
address = "0xe20fCBdBfFC4Dd138cE8b2E6FBb6CB49777ad64D"
from_block = 2357134
markets = ["0x0707070707070707070707070707070707070707070707070707070707070707"]
suppliers = false
"""
FILES = [FULL, FULL, *(path.read_text() for path in sorted(SHIPPED.glob("*.toml")))]
MARKS = (
    "\\u0000",
    "{",
    "{0}",
    " ",
    "\\n",
    "\u0663",
    "[",
    "]",
    ":",
    "@",
    "/",
    "%",
    "?a=1",
    "#",
    "\\\\",
)
ODD: tuple[str, ...] = (
    "true",
    "-1",
    "0",
    '""',
    "[]",
    "{}",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "1979-05-27",
    "07:32:00",
)
ODD += ("0x" + "f" * 5_000, "9" * 5_000, "[" * 2_000 + "]" * 2_000, '"a\\u0000b"', "1e999", "[[]]")
ODD += ('"sqlite+aiosqlite:///a\\u0000b"', '"sqlite+aiosqlite:///"', '"http://[::1"', '"{x}{0}"')
ODD += ('["ws://a", 1]', '["{0}"]', '"ws://h:99999"', "'''a\nb'''", '"https://u:p@h/%zz"', "0b1")
ODD += ('"redis://h:x"', '"unix://"', '"0.0.0.0:٣"', '"[::1]:1"', '":0"', "{a = {b = 1}}", "0o7")
URLS = ("sqlite+aiosqlite:///a\nb", "sqlite+aiosqlite:///" + "x/" * 3_000, "postgresql+asyncpg://")
KEYS = ("", "x", "layers", "model_config", "_distinct", "a.b", "url", "ws", "protocols", "chain.x")
LINE = re.compile(r"^(\w+) = (.+)$", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checked(path: Path) -> None:
    try:
        settings = load(path)
    except Refuse as refused:
        message = str(refused)
        assert message
        assert "\n" not in message or "\n" in str(path)
    else:
        assert type(settings)(**settings.model_dump()) == settings


def a_value(draw: Draw) -> str:
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    quoted = st.one_of(st.sampled_from([t for t in TEXTS if t.isascii()]), text).map(repr)
    return draw(st.one_of(st.sampled_from(ODD), st.sampled_from(EDGES).map(str), quoted))


def test_files(fuzz: Fuzz, folder: Path) -> None:
    def hold(draw: Draw) -> None:
        text = draw(st.sampled_from(FILES))
        for _ in range(draw(st.integers(1, 2))):
            found = draw(st.sampled_from(list(LINE.finditer(text))))
            match draw(st.sampled_from(["value", "within"] * 3 + ["name", "gone", "new", "[]"])):
                case "within":
                    place = draw(st.integers(1, len(found[2])))
                    mark = draw(st.sampled_from(MARKS))
                    new = f"{found[1]} = {found[2][:place]}{mark}{found[2][place:]}"
                case "value":
                    new = f"{found[1]} = {a_value(draw)}"
                case "name":
                    new = f"{draw(st.sampled_from(KEYS))} = {found[2]}"
                case "gone":
                    new = ""
                case "new":
                    new = f"{found[0]}\n{draw(st.sampled_from(KEYS))} = {a_value(draw)}"
                case _:
                    new = f"[{draw(st.sampled_from(KEYS))}]\n{found[0]}"
            text = text[: found.start()] + new + text[found.end() :]
            if not LINE.search(text):
                break
        raw = text.encode()
        path = folder / "chimera.toml"
        path.write_bytes(spoiled(draw, raw) if rarely(draw, one_in=4) else raw)
        checked(path)

    fuzz(hold)


def test_environments(fuzz: Fuzz, folder: Path) -> None:
    path = folder / "chimera.toml"
    path.write_text(FULL)
    names = [*variable_names(), "CHIMERA_PROTOCOLS", "CHIMERA_X__Y", "CHIMERA_", "CHIMERA_CONFIG"]

    def hold(draw: Draw) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)):
                value = a_value(draw).strip("'\"") if draw(st.booleans()) else an_odd_text(draw)
                patch.setenv(name, value.replace("\0", ""))
            checked(path)

    fuzz(hold)


def an_odd_text(draw: Draw) -> str:
    """What an environment may hold: anything but NUL; bytes that are no text are surrogates."""
    raw = draw(st.binary(max_size=20)).decode("utf-8", "surrogateescape")
    return draw(st.sampled_from([raw, *URLS, "1,2", ",", " ", "ws://a,ws://b"]))


def test_dotenv(fuzz: Fuzz, folder: Path) -> None:
    seed = b"# a line\nCHIMERA_LOG__LEVEL=debug\nexport B=\"c\\n${B}\" # d\nC='e\nf'\nCHIMERA_X\n"

    def hold(draw: Draw) -> None:
        path = folder / ".env"
        path.write_bytes(spoiled(draw, seed))
        try:
            found: dict[str, Any] = dotenv(path)
        except Refuse:
            return
        assert all(isinstance(value, str) for value in found.values())

    fuzz(hold)
