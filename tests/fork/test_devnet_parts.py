from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from devnet.anvil import Anvil, AnvilError
from devnet.artifacts import aave
from devnet.node import GAS, MULTICALL3, Node, RpcError, Transaction
from devnet.proxy import CountingProxy
from devnet.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
ALICE = "0x00000000000000000000000000000000000A11cE"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_node_leaves_nothing_behind() -> None:
    with Anvil() as anvil, Node(anvil.http) as node:
        pid, home = anvil.pid, anvil.home
        node.mine()
        assert alive(pid)
        assert home.is_dir()

    assert not alive(pid)
    assert not home.exists()


def test_a_taken_port_is_told_and_not_mistaken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Anvil() as first:
        with pytest.raises(AnvilError, match="in use"), Anvil(port=first.port):
            pass
        first.check_alive()
        assert list(tmp_path.iterdir()) == [first.home]

    assert list(tmp_path.iterdir()) == []


def test_a_node_that_dies_is_told_with_what_it_said() -> None:
    with pytest.raises(AnvilError, match="unexpected argument"), Anvil(extra=["--nonsense"]):
        pass


def test_a_node_that_was_killed_is_noticed() -> None:
    with Anvil() as anvil:
        os.kill(anvil.pid, signal.SIGKILL)
        os.waitid(os.P_PID, anvil.pid, os.WEXITED | os.WNOWAIT)

        with pytest.raises(AnvilError, match="ended with code -9"):
            anvil.check_alive()


def test_gas_is_paid_for_where_it_costs_something() -> None:
    with Anvil(base_fee=10**8) as anvil, Node(anvil.http, fund=True) as node:
        node.send(Transaction(ALICE, MULTICALL3, b"", gas=GAS))
        node.settle()

        assert int(node.rpc("eth_getBalance", ALICE, "latest"), 16) < 10**24


def test_libraries_are_linked_where_their_names_stood() -> None:
    pool = aave("L2Pool")
    libraries = dict.fromkeys(pool.links, ALICE)
    code = pool.creation(ALICE, libraries=libraries)
    places = sum(len(starts) for starts in pool.links.values())

    assert code.count(bytes.fromhex(ALICE[2:])) >= places > len(pool.links)


def test_the_configuration_names_the_market(stage: Stage, tmp_path: Path) -> None:
    extra = {"detection": {"confirmation_blocks": 3}, "redis": {"ttl": 30}}
    path = stage.write_config(tmp_path / "stage.toml", redis_url="redis://x", extra=extra)
    written = tomllib.loads(path.read_text())

    assert written["protocols"] == [
        {"name": "aave", "kind": "aave_v3", "address": stage.provider, "from_block": 1}
    ]
    assert written["rpc"] == {"ws": [stage.anvil.ws], "http": [stage.anvil.http]}
    assert written["redis"] == {"url": "redis://x", "ttl": 30}
    assert written["detection"] == {"confirmation_blocks": 3}
    assert written["history"]["url"].endswith("/stage.db")


def test_the_proxy_counts_and_finds_who_was_asked_about(stage: Stage) -> None:
    alice, bob = stage.population.people["plain"][:2]
    with CountingProxy(stage.anvil.http) as proxy, Node(proxy.http) as node:
        view = stage.market.pool.artifact.encode("getUserAccountData", alice)
        node.multicall([(stage.market.pool.address, view)])
        node.read(stage.market.pool, "POOL_REVISION")
        assert node.number == stage.node.number

        assert proxy.counts == {"eth_call": 2, "eth_blockNumber": 1}
        assert proxy.per_account_requests([alice]) == 1
        assert proxy.per_account_requests([bob]) == 0
        proxy.reset()
        assert proxy.counts == {}


def test_the_proxy_answers_in_the_node_s_place() -> None:
    def refuse(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if request["method"] == "eth_getLogs":
            return {"error": {"code": -32005, "message": "range too wide"}}
        return None

    with (
        Anvil() as anvil,
        CountingProxy(anvil.http, intercept=refuse) as proxy,
        Node(proxy.http) as node,
    ):
        assert node.number == 0
        with pytest.raises(RpcError, match="range too wide"):
            node.logs()


def test_the_proxy_passes_subscriptions_until_it_is_cut() -> None:
    with Anvil() as anvil, Node(anvil.http) as node, CountingProxy(anvil.http) as proxy:
        ask = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
        with connect(proxy.ws) as socket:
            socket.send(json.dumps(ask))
            assert "result" in json.loads(socket.recv())
            node.mine()
            assert json.loads(socket.recv())["params"]["result"]["number"] == "0x1"
            proxy.cut()
            with pytest.raises(ConnectionClosedError):
                socket.recv(timeout=60)
        with pytest.raises(ConnectionRefusedError):
            connect(proxy.ws)

        proxy.restore()
        with Node(proxy.http) as again:
            assert again.number == 1
    assert proxy.counts == {"eth_subscribe": 1, "eth_blockNumber": 1}


async def test_the_proxy_counts_each_member_of_a_batch() -> None:
    with Anvil() as anvil, CountingProxy(anvil.http) as proxy:
        batch = [{"jsonrpc": "2.0", "id": i, "method": "eth_chainId"} for i in range(3)]
        async with (
            aiohttp.ClientSession() as session,
            session.post(proxy.http, json=batch) as answer,
        ):
            assert len(await answer.json()) == 3
        await asyncio.sleep(0)

    assert proxy.counts == {"eth_chainId": 3}


def test_the_stage_of_the_command_line_ends_without_a_trace(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "devnet.stage", "--borrowers", "8", "--port", "0"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True, "process_group": 0}
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("block "):
                break
        assert list(tmp_path.glob("chimera-anvil-*"))
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()

    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []
    assert re.search(r"node +http://\S+", "".join(lines))
    assert rest.endswith("ended\n")
    with pytest.raises(ProcessLookupError):  # its node's port may be another's by now
        os.killpg(process.pid, 0)
