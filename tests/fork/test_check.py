"""`check` and `why` against the chain: each wrong fact is found, each turning price is true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from chimera.app import examining
from chimera.cli import app
from devnet.anvil import Anvil
from devnet.node import MULTICALL3
from devnet.ports import free_port
from devnet.stage import Stage
from tests.fakes_cli import logging_as_before
from tests.fork.typed import DONE, FAULT, REFUSED, UNREACHABLE, Said, chimera

WAD = 10**18
SECONDS = 2
TURNS = re.compile(r"([0-9.]+) USD \(([+-][0-9.]+) %\), under 1 (above|below) it")


@pytest.fixture(scope="module")
def built() -> Iterator[Stage]:
    with Stage.build(seed=11, borrowers=24) as stage:
        yield stage


@pytest.fixture
def stage(built: Stage) -> Iterator[Stage]:
    with built.undone():
        yield built


@pytest.fixture
def config(stage: Stage, tmp_path: Path) -> Path:
    return stage.write_config(tmp_path / "chimera.toml")


def here(*words: str, config: Path) -> Said:
    """Type a command in this process, which is faster."""
    with logging_as_before():
        result = CliRunner().invoke(app, [*words, "--config", str(config)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


def checked(config: Path) -> Said:
    said = here("check", "--json", config=config)
    assert "Traceback" not in said.err
    assert said.document["ok"] is (said.code == DONE)
    return said


def wrong(said: Said) -> list[str]:
    items = said.document["items"]
    return [f"{row['subject']}: {row['fact']}" for row in items if not row["ok"]]


def facts(said: Said) -> str:
    return "\n".join(f"{row['subject']}: {row['fact']}" for row in said.document["items"])


def sources(said: Said) -> dict[str, dict[str, Any]]:
    return {
        row["source"]["symbol"]: row["source"] for row in said.document["items"] if "source" in row
    }


def test_a_right_configuration_holds_and_every_source_has_its_kind(
    stage: Stage, config: Path
) -> None:
    said = checked(config)

    assert (said.code, wrong(said)) == (DONE, [])
    found = sources(said)
    listings = stage.market.listings
    assert {symbol: its["address"] for symbol, its in found.items()} == {
        symbol: one.feed.address for symbol, one in listings.items()
    }
    for symbol, its in found.items():
        assert its["kind"] == ("ratio" if listings[symbol].reserve.wraps else "plain feed")
        assert its["alive"]
        assert its["age"] >= 0
    assert found["wstETH"]["beneath"] == listings["WETH"].feed.address
    assert found["WETH"]["price"] == f"{listings['WETH'].reserve.price / 10**8:.8f}"
    for fact in (
        "is on chain 31337",
        "eth_getLogs by block hash works",
        "eth_call at a block hash (EIP-1898) works",
        "Multicall3 at 0xca11",
        "announces heads",
        "no code before from_block 1",
        "Aave v3.0",
        "code at every one",
        "positions stay in memory",
        "the database can be opened",
    ):
        assert fact in facts(said)


def test_people_get_tables(config: Path) -> None:
    said = chimera("check", config=config)

    assert said.code == DONE
    assert said.out.splitlines()[-1].strip() == "everything holds"
    assert re.search(
        r"^ok +aave wstETH +0x\w{40} +ratio +\d+\.\d{8} USD +yes, \d+ s old", said.out, re.MULTILINE
    )


def test_a_dead_feed_is_named(stage: Stage, config: Path) -> None:
    stage.prices.set("LINK", 0)
    stage.mine()

    said = checked(config)

    assert said.code == FAULT
    feed = stage.market.listings["LINK"].feed.address
    assert wrong(said) == [f"aave LINK: plain feed {feed} is dead: the oracle answers no price"]
    assert (sources(said)["LINK"]["alive"], sources(said)["WETH"]["alive"]) == (False, True)


def test_a_start_block_after_the_deployment_is_too_late(stage: Stage, config: Path) -> None:
    late = stage.node.number - 1
    config.write_text(config.read_text().replace("from_block = 1", f"from_block = {late}"))

    said = checked(config)

    assert said.code == FAULT
    assert [f"from_block {late} is too late" in fault for fault in wrong(said)] == [True]


def test_a_start_block_that_is_yet_to_come_is_a_fault(config: Path) -> None:
    config.write_text(config.read_text().replace("from_block = 1", "from_block = 1000000"))

    said = checked(config)

    assert said.code == FAULT
    assert ["is after the newest block" in fault for fault in wrong(said)] == [True]


def test_a_node_that_forgot_cannot_tell_what_was_before(tmp_path: Path) -> None:
    with Stage.build(seed=3, borrowers=3, history=2) as stage:
        config = stage.write_config(tmp_path / "forgetful.toml")
        stage.mine()
        late = stage.node.number // 2
        config.write_text(config.read_text().replace("from_block = 1", f"from_block = {late}"))

        said = checked(config)

    assert (said.code, wrong(said)) == (DONE, [])
    assert f"from_block {late}: the node cannot tell" in facts(said)


def test_the_wrong_chain_is_a_fault(stage: Stage, tmp_path: Path) -> None:
    config = stage.write_config(tmp_path / "wrong.toml", extra={"chain": {"id": 8453}})

    said = checked(config)

    assert said.code == FAULT
    assert (
        len([fault for fault in wrong(said) if "is on chain 31337, chain.id says 8453" in fault])
        == 2
    )


def test_every_endpoint_is_proved_not_only_the_first(stage: Stage, tmp_path: Path) -> None:
    closed = f"127.0.0.1:{free_port()}"
    with Anvil(chain_id=1) as other:
        nodes = {
            "http": [stage.anvil.http, other.http, f"http://{closed}"],
            "ws": [stage.anvil.ws, other.ws, f"ws://{closed}"],
        }
        said = checked(stage.write_config(tmp_path / "several.toml", extra={"rpc": nodes}))

    assert said.code == FAULT
    faults = wrong(said)
    for kind in ("http", "ws"):
        assert any(
            f.startswith(f"rpc.{kind} 127.0.0.1:{other.port}: is on chain 1,") for f in faults
        )
        assert any(f.startswith(f"rpc.{kind} {closed}: does not answer") for f in faults)
    assert len(faults) == 4
    assert sources(said)["WETH"]["alive"]


def test_an_endpoint_that_answers_nonsense_is_named_without_its_key(
    stage: Stage, tmp_path: Path
) -> None:
    key = "abcdefgh12345678"
    nodes = {"http": [stage.anvil.http, f"http://127.0.0.1:{free_port()}/v2/{key}"]}
    config = stage.write_config(tmp_path / "secret.toml", extra={"rpc": nodes})

    said = here("check", config=config)

    assert said.code == FAULT
    assert key not in said.out + said.err


def test_a_chain_without_multicall3_is_a_fault(stage: Stage, config: Path) -> None:
    stage.node.rpc("anvil_setCode", MULTICALL3, "0x")

    said = checked(config)

    assert said.code == FAULT
    assert ["no Multicall3 at" in fault for fault in wrong(said)] == [True]
    assert sources(said)["wstETH"]["kind"] == "ratio"


def test_an_address_without_code_and_one_of_another_contract_are_faults(
    stage: Stage, config: Path
) -> None:
    text = config.read_text()
    for address, fault in (("0x" + "11" * 20, "no code at"), (MULTICALL3, "PoolAddressesProvider")):
        config.write_text(text.replace(stage.provider, address))

        said = checked(config)

        assert said.code == FAULT
        assert any(fault in found for found in wrong(said))


def test_a_redis_that_is_away_is_told_but_no_fault(stage: Stage, tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"

    said = checked(stage.write_config(tmp_path / "alone.toml", redis_url=url))

    assert said.code == DONE
    assert "redis: does not answer: positions would stay in memory" in facts(said)


def test_a_history_that_cannot_be_opened_is_a_fault(stage: Stage, tmp_path: Path) -> None:
    config = stage.write_config(tmp_path / "c.toml", history=f"sqlite+aiosqlite:///{tmp_path}")

    said = checked(config)

    assert said.code == FAULT
    assert [fault.startswith("history: ") for fault in wrong(said)] == [True]


def test_a_check_leaves_no_database_behind(config: Path) -> None:
    assert checked(config).code == DONE
    assert not config.with_suffix(".db").exists()


def test_no_node_at_all_is_code_3(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examining, "PATIENCE", 0.6)
    nobody = f"http://127.0.0.1:{free_port()}"

    said = here("check", config=stage.write_config(tmp_path / "nobody.toml", http=nobody))

    assert said.code == UNREACHABLE
    assert len(said.err.splitlines()) == 1


class Claim(NamedTuple):
    symbol: str
    price: int
    beyond: int


def claims(stage: Stage, user: str, config: Path) -> list[Claim]:
    """What `why` says about the prices that can be moved alone."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    said = here("why", "aave", user, "--json", "--url", nowhere, config=config)
    assert said.code == DONE, said.err
    steps = {step["name"]: step["value"] for step in said.document["steps"]}
    found = []
    for symbol in stage.prices.movable:
        told = TURNS.fullmatch(steps.get(f"{symbol} turns at", ""))
        wrapped = (one for one in stage.market.listings.values() if one.reserve.wraps == symbol)
        follows = any(f"{one.reserve.symbol} price" in steps for one in wrapped)
        if told is not None and not follows:
            price = int(told[1].replace(".", ""))
            found.append(Claim(symbol, price, price + (1 if told[3] == "above" else -1)))
    return found


def factor_with(stage: Stage, user: str, symbol: str, price: int) -> int | None:
    """The contract's own figure in the same second, with only this price another."""
    with stage.undone():
        stage.prices.set(symbol, price)
        stage.mine(SECONDS)
        return stage.truth.health_factors([user])[user]


def prove_turns(stage: Stage, config: Path) -> int:
    """Hold every claim about the first people against the contract; how many there were."""
    proved = 0
    for user in sorted(stage.truth.borrowers_now())[:16]:
        with stage.undone():
            stage.mine(SECONDS)
            told = claims(stage, user, config)
        for claim in told:
            at = factor_with(stage, user, claim.symbol, claim.price)
            beyond = factor_with(stage, user, claim.symbol, claim.beyond)
            assert at is None or at >= WAD, claim
            assert beyond is not None, claim
            assert beyond < WAD, claim
            proved += 1
    return proved


def crash(stage: Stage) -> None:
    """Put most people under 1, so that the price is that of their way back."""
    stage.prices.set("WETH", stage.prices.answer("WETH") * 65 // 100)
    stage.mine(SECONDS)


def test_the_price_at_which_an_account_turns_is_true_on_chain(stage: Stage, config: Path) -> None:
    assert prove_turns(stage, config) >= 16
    crash(stage)
    assert stage.truth.unhealthy()
    assert prove_turns(stage, config) >= 16


def test_a_later_version_is_named_and_turns_where_it_is_told(tmp_path: Path) -> None:
    with Stage.build(seed=11, borrowers=24, version="3.6.0") as stage:
        config = stage.write_config(tmp_path / "later.toml")
        said = checked(config)
        assert (said.code, wrong(said)) == (DONE, [])
        assert "Aave v3.6" in facts(said)
        assert sources(said)["weETH"]["kind"] == "ratio"
        assert prove_turns(stage, config) >= 16
        crash(stage)
        assert prove_turns(stage, config) >= 16


def test_why_of_a_protocol_or_an_account_that_is_not_there_is_one_line(config: Path) -> None:
    nowhere = ("--url", f"http://127.0.0.1:{free_port()}")
    stranger = "0x" + "11" * 20

    typo = here("why", "aawe", stranger, *nowhere, config=config)
    nobody = here("why", "aave", stranger, *nowhere, config=config)

    assert (typo.code, nobody.code) == (REFUSED, FAULT)
    assert typo.err == "PROTOCOL: expected one of aave, found 'aawe'\n"
    assert nobody.err.splitlines()[-1] == f"aave has no account of {stranger}"
