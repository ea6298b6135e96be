"""Real contracts, recorded: the mirror must say what they said, to the last digit."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from chimera.domain.block import ZERO_ADDRESS
from chimera.domain.call import Call
from chimera.protocols.aave_v3.market import AaveMarket
from devnet.recording import Unrecorded
from devnet.replay import Replay, main

RECORDINGS = Path(__file__).parents[1] / "recordings"
AAVE_3_0 = RECORDINGS / "aave_v3-3.0.2-15.jsonl.gz"
AAVE = {
    "3.0": AAVE_3_0,
    "3.6": RECORDINGS / "aave_v3-3.6.0-14.jsonl.gz",
    "3.7": RECORDINGS / "aave_v3-3.7-16.jsonl.gz",
}
EACH = pytest.mark.parametrize("version", AAVE)


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def rewritten(folder: Path, **header: object) -> Path:
    """The recording with another header."""
    with gzip.open(AAVE_3_0, "rt") as lines:
        first, *rest = lines
    path = folder / "other.jsonl.gz"
    with gzip.open(path, "wt") as lines:
        lines.writelines([json.dumps({**json.loads(first), **header}) + "\n", *rest[:250]])
    return path


def test_the_command_ends_with_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(AAVE_3_0)]) == 0
    assert last_line(capsys) == "compared 28744, mismatches 0"


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("3.0", {None, "healthy", "no collateral", "price unknown"}),
        ("3.6", {None, "healthy", "reserve paused", "grace period", "price unknown"}),
        ("3.7", {None, "healthy", "reserve paused", "grace period", "price unknown"}),
    ],
)
def test_the_rules_that_protect_an_account_occur(version: str, told: set[str]) -> None:
    run = Replay(AAVE[version])

    reasons = {
        run.adapter.verdict(run.book.market("aave_v3"), account, line.block.timestamp).reason
        for line in run.blocks()
        for account in run.accounts.values()
    }

    assert reasons >= told


@EACH
def test_the_version_is_told_from_the_contracts(version: str) -> None:
    run = Replay(AAVE[version])
    next(run.blocks())

    market = run.book.market("aave_v3")

    assert isinstance(market, AaveMarket)
    assert market.engine.version == version


def test_a_family_that_nobody_built_is_told_apart_from_a_mismatch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rewritten(tmp_path, family="unheard_of")

    assert main([str(path)]) == 2

    told = capsys.readouterr()
    assert "unheard_of 3.0.2: this family is not built yet" in told.err
    assert told.out == "compared 0, mismatches 0\n"


NO_RECORDINGS = {
    "empty": b"",
    "not packed": b"no gzip",
    "no header": gzip.compress(b"{}"),
    "cut short": gzip.compress(b"["),
}


@pytest.mark.parametrize("content", NO_RECORDINGS.values(), ids=NO_RECORDINGS)
def test_a_file_that_is_no_recording_is_refused(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.jsonl.gz"
    path.write_bytes(content)

    assert main([str(path), str(tmp_path / "absent.jsonl.gz")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.count("not a recording, ") for line in told] == [1, 1]
    assert [line.count(str(tmp_path)) for line in told] == [1, 1]
    assert "(" not in "".join(told)


def test_without_a_file_there_is_nothing_to_replay() -> None:
    assert main([]) == 2


def test_a_call_that_was_not_recorded_is_no_answer() -> None:
    run = Replay(AAVE_3_0)
    line = run.recording.followed[1]

    with pytest.raises(Unrecorded):
        run.recording.answer(line, Call(ZERO_ADDRESS, b"1234"))
