"""A configuration for tests to spoil, and how it is refused."""

from pathlib import Path

import pytest

from chimera.errors import Refuse
from chimera.settings import load

BASE = """\
[chain]
id = 8453
name = "base"

[rpc]
ws = ["ws://127.0.0.1:8545"]
http = ["http://127.0.0.1:8545"]

[[protocols]]
name = "aave"
kind = "aave_v3"
address = "0xe20fCBdBfFC4Dd138cE8b2E6FBb6CB49777ad64D"
from_block = 2357134
"""
ADDRESS = "0xe20fCBdBfFC4Dd138cE8b2E6FBb6CB49777ad64D"


def refusal(path: Path | None = None) -> str:
    """Return the complaint, which is one line."""
    with pytest.raises(Refuse) as refused:
        load(path)
    message = str(refused.value)
    assert "\n" not in message
    return message


def with_section(file: Path, section: str) -> Path:
    file.write_text(f"{section}\n{BASE}")
    return file


def replaced(file: Path, old: str, new: str) -> Path:
    assert old in BASE
    file.write_text(BASE.replace(old, new, 1))
    return file
