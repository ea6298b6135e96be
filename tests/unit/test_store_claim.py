"""Two daemons on one history: the second is refused, and a crash leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chimera.errors import Refuse, Retry
from chimera.store.history import SqlHistory

HOLD = """
import asyncio, sys
from chimera.store.history import SqlHistory

async def main():
    history = SqlHistory(sys.argv[1], chain_id=1)
    await history.open()
    await history.claim()
    print("claimed", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def opened(url: str, chain_id: int = 1) -> SqlHistory:
    history = SqlHistory(url, chain_id=chain_id)
    await history.open()
    return history


async def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'chimera.db'}"
    with subprocess.Popen(  # noqa: ASYNC220  (it only has to stand there)
        [sys.executable, "-c", HOLD, url], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"claimed\n"
        history = await opened(url)

        with pytest.raises(Refuse, match=rf"another chimera \(process {other.pid}\) works with"):
            await history.claim()

        other.send_signal(signal.SIGKILL)
        other.wait()
        await history.claim()
        await history.close()


async def test_a_closed_history_can_be_claimed_again(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'chimera.db'}"
    for _ in range(2):
        history = await opened(url)
        await history.claim()
        await history.close()


async def test_another_chain_in_the_same_file_is_no_rival(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'chimera.db'}"
    histories = [await opened(url, chain_id) for chain_id in (1, 2)]

    for history in histories:
        await history.claim()

    for history in histories:
        await history.close()


async def test_a_history_in_memory_has_no_rivals() -> None:
    history = await opened("sqlite+aiosqlite://")

    await history.claim()

    await history.close()


async def test_what_is_not_open_cannot_be_claimed() -> None:
    with pytest.raises(Retry):
        await SqlHistory("sqlite+aiosqlite://", chain_id=1).claim()


async def test_what_is_claimed_first_stays_claimed_and_nothing_is_made_for_it(
    tmp_path: Path,
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'chimera.db'}"
    history = SqlHistory(url, chain_id=1)
    await history.claim_first()
    assert names_in(tmp_path) == []
    await history.open()
    await history.claim()
    rival, later = SqlHistory(url, chain_id=1), SqlHistory(url, chain_id=1)

    with pytest.raises(Refuse, match="another chimera"):
        await rival.claim_first()
    await rival.close()
    await history.close()
    await later.claim_first()
    with pytest.raises(Refuse, match="another chimera"):
        await rival.claim_first()
    await later.open()
    await later.claim()

    await rival.close()
    await later.close()
