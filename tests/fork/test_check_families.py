"""`check` and `why` of every family that can be had as real contracts, under one configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from devnet.market import DEPLOYER
from devnet.morpho_hostile import HONEST, KINDS
from devnet.node import Transaction
from devnet.ports import free_port
from devnet.town import MORPHO, NEW, OLD, VENUS, Town
from devnet.venus_market import order
from tests.fork.typed import DONE, FAULT, Said, chimera

WAD = 10**18
BORROWERS = 12
TURNS = re.compile(r"([0-9.]+) (\S+) \(([+-][0-9.]+) %\), under 1 (above|below) it")
SHOWN = 12  # oracles of markets that anybody opens


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with Town.build(seed=5, borrowers=BORROWERS) as town:
        town.step(seconds=2)
        yield town


@pytest.fixture
def config(town: Town, tmp_path: Path) -> Path:
    return town.write_config(tmp_path / "town.toml")


@contextmanager
def undone(town: Town) -> Iterator[None]:
    with town.morpho.undone(), town.venus.undone():
        yield


def checked(config: Path) -> Said:
    said = chimera("check", "--json", config=config)
    assert "Traceback" not in said.err
    assert said.document["ok"] is (said.code == DONE)
    return said


def wrong(said: Said) -> list[str]:
    items = said.document["items"]
    return [f"{row['subject']}: {row['fact']}" for row in items if not row["ok"]]


def facts(said: Said, name: str) -> str:
    return "\n".join(row["fact"] for row in said.document["items"] if row["subject"] == name)


def sources(said: Said, name: str) -> dict[str, dict[str, Any]]:
    found = [row for row in said.document["items"] if "source" in row]
    return {
        row["source"]["asset"]: row["source"] for row in found if row["subject"].split()[0] == name
    }


def test_every_family_is_proved_on_the_chain(town: Town, config: Path) -> None:
    said = checked(config)

    assert (said.code, wrong(said)) == (DONE, [])
    for name in (OLD, NEW, MORPHO, VENUS):
        assert "code at every one" in facts(said, name)
        priced = sources(said, name)
        assert len(priced) > 1, name
        assert all(its["alive"] and 0 < float(its["price"]) < 10**6 for its in priced.values())
    at_venus = {its["symbol"]: its["price"] for its in sources(said, VENUS).values()}
    assert at_venus["WBTC"] == "61000.000000000000000007"
    assert set(at_venus) == set(town.venus.market.listings)
    at_morpho = {its["symbol"]: its for its in sources(said, MORPHO).values()}
    assert (at_morpho["WETH/USDC"]["price"], at_morpho["WETH/USDC"]["currency"]) == ("2500", "USDC")
    assert re.search(r"[0-9]+ markets were borrowed from since block", facts(said, MORPHO))


def test_hostile_oracles_are_told_in_few_rows_and_are_nobodys_fault(
    town: Town, config: Path
) -> None:
    with undone(town):
        for kind in KINDS:
            town.morpho.add_hostile(kind)
        town.node.mine()

        said = checked(config)

    assert (said.code, wrong(said)) == (DONE, [])
    dead = int(re.search(r"oracles, ([0-9]+) of them dead", facts(said, MORPHO))[1])  # type: ignore[index]
    assert dead >= 5
    shown = sources(said, MORPHO)
    assert len(shown) == SHOWN
    assert sum(its["price"] in (None, "0") for its in shown.values()) == dead
    assert re.search(r"[0-9]+ more prices, 0 of them dead", facts(said, MORPHO))


def test_a_dead_oracle_of_a_market_that_was_chosen_is_a_fault(town: Town, config: Path) -> None:
    with undone(town):
        market = town.morpho.add_hostile("reverting")
        town.node.mine()
        chosen = f'kind = "morpho_blue"\nmarkets = ["0x{market.hex()}"]'
        config.write_text(config.read_text().replace('kind = "morpho_blue"', chosen))

        said = checked(config)

    assert said.code == FAULT
    assert [fault.startswith("morpho WETH/USDC: ") for fault in wrong(said)] == [True]
    assert "is dead: the oracle answers no price" in wrong(said)[0]


def test_a_price_of_zero_at_venus_is_a_fault(town: Town, config: Path) -> None:
    with undone(town):
        price_at_venus(town, "DAI", 0)
        town.node.mine()

        said = checked(config)

    assert said.code == FAULT
    assert wrong(said) == ["venus DAI: no source is dead: the oracle answers no price"]


# --- at which price an account turns -------------------------------------------------------------


def price_at_venus(town: Town, symbol: str, price: int) -> None:
    venus = town.venus.market
    listing = venus.listings[symbol]
    place, answer = listing.v_token.address, listing.asset.answer(price)
    town.node.send(order(venus.oracle, "price", "set", place, answer))


def why(config: Path, protocol: str, user: str) -> dict[str, tuple[Decimal, bool]]:
    """By name, the price at which the account turns, and whether above it."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    said = chimera("why", protocol, user, "--json", "--url", nowhere, config=config)
    assert said.code == DONE, said.err
    found = {}
    for step in said.document["steps"]:
        turns = TURNS.fullmatch(step["value"])
        if turns and step["name"].endswith(" turns at"):
            found[step["name"].removesuffix(" turns at")] = Decimal(turns[1]), turns[4] == "above"
    return found


def test_the_price_at_which_an_account_of_venus_turns_is_true(town: Town, config: Path) -> None:
    proved = 0
    for user in sorted(town.venus.truth.debtors())[:6]:
        for symbol, (price, above) in why(config, VENUS, user).items():
            unit = Decimal(10) ** -18
            for told, healthy in ((price, True), (price + (unit if above else -unit), False)):
                with undone(town):
                    price_at_venus(town, symbol, int(told.scaleb(18)))
                    town.node.mine()
                    factor = town.venus.truth.health_factors()[user]
                assert factor is not None
                assert (factor >= WAD) is healthy, (symbol, told)
                proved += 1

    assert proved > 12


def test_the_price_at_which_an_account_of_morpho_turns_is_true(town: Town, config: Path) -> None:
    with undone(town):
        place = town.morpho.add_hostile("price_zero", turned=False)  # an oracle that we can set
        town.node.mine()
        hostile, name = town.morpho.hostile[place], f"0x{place.hex()}"
        for user in hostile.users[:2]:
            with undone(town):
                town.node.mine()
                [(price, above)] = why(config, f"{MORPHO}.{name}", user).values()
            assert not above
            limit = int(price.scaleb(36 + 6 - 18))  # USDC per WETH
            for told, healthy in ((limit, True), (limit - 1, False)):
                with undone(town):
                    data = hostile.oracle.artifact.encode("turn", HONEST, told)
                    town.node.send(Transaction(DEPLOYER, hostile.oracle.address, data, "price"))
                    town.node.mine()
                    factor = town.morpho.truth.health()[name, user]
                assert factor is not None
                assert (factor >= WAD) is healthy
