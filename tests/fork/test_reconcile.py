"""The real daemon with a fault in its mirror: it notices, says so, mends it, and blocks go on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from redis import Redis

from devnet.actions import Actions
from devnet.daemon import Daemon
from devnet.proxy import CountingProxy
from devnet.redis_server import RedisServer
from devnet.stage import Stage
from devnet.town import MORPHO, NEW, OLD, VENUS, Town
from devnet.town_witness import TownWitness
from devnet.witness import Witness

PROGRAM = str(Path(__file__).with_name("sabotaged.py"))
VIEW = "bf92857c"  # getUserAccountData, which only comparisons ask for
SAMPLE = 20  # calls: a whole comparison of 40 accounts shows by its size
ON: dict[str, object] = {"enabled": True, "calls": SAMPLE}
OFF: dict[str, object] = {"enabled": False}
BETWEEN_BLOCKS = 3.0  # seconds
SKIPPED_AFTER = 20.0  # seconds; a node that fails once makes one comparison impossible
PATIENCE = 180.0  # seconds, of a machine that is ten times slower for a while
MARKETS = (OLD, NEW, MORPHO, VENUS)


def until(holds: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come to that in time")
        time.sleep(0.02)


def compared(daemon: Daemon, number: int) -> None:
    """
    Wait until accounts were compared at this block, or the comparison must have been skipped.

    A node that mines while it is asked about its head may answer from the next block's state.
    """

    def newest() -> int:
        protocols = daemon.get("/readyz")[1]["protocols"].values()
        return max(its["last_reconciled_block"] or 0 for its in protocols)

    deadline = time.monotonic() + SKIPPED_AFTER
    while newest() < number and time.monotonic() < deadline:
        time.sleep(0.02)


class Scene:
    """A stage, a daemon that loses every balance moved in one block, and a proxy between them."""

    def __init__(self, stage: Stage, daemon: Daemon, reconcile: Mapping[str, object]) -> None:
        self.stage = stage
        self.daemon = daemon
        self.witness = Witness(stage, daemon)
        self.reconciles = reconcile == ON
        self.blocked = False

    def block(self, *, shock: int = 0) -> int:
        """Mine a block, and wait until it was processed and, if anything is, compared."""
        number = self.stage.life.shock("WETH", shock) if shock else self.stage.life.quiet()
        self.witness.attend(number)
        if self.reconciles and not self.blocked:
            compared(self.daemon, number)
        return number

    def mine_until(self, holds: Callable[[], bool]) -> None:
        """
        Mine a block now and then until it has come to that.

        A protocol that is read anew meanwhile is read at the head, and a node that mines then may
        answer from the next block's state.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            self.block()
            assert time.monotonic() < deadline
            with suppress(AssertionError):
                return until(holds, seconds=BETWEEN_BLOCKS)

    def supply(self, *users: str) -> int:
        """Have more collateral come to these accounts in one block, whose logs the daemon loses."""
        actions = Actions(self.stage.market)
        unit = self.stage.market.listings["WETH"].reserve.unit
        for user in users:
            self.stage.node.send(actions.supply(user, "WETH", unit))
        return self.block()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.daemon.get("/readyz")[1]["protocols"]["aave"]
        return found

    def reasons(self) -> str:
        return " ".join(self.daemon.get("/readyz")[1]["reasons"])

    def flags(self) -> list[dict[str, Any]]:
        return self.daemon.opportunities("&state=open")[1]

    def wrong_at(self, number: int) -> list[str]:
        return [line for line in self.witness.mismatches if line.startswith(f"block {number}:")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return self.daemon.told(event)

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """While it is blocked, let no whole comparison through, only samples."""
        if self.blocked and json.dumps(request).count(VIEW) > SAMPLE:
            return {"error": {"code": -32000, "message": "header not found"}}
        return None


@contextmanager
def scene(folder: Path, reconcile: Mapping[str, object], broken: str) -> Iterator[Scene]:
    scenes: list[Scene] = []

    def intercept(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return scenes[0].answer(request) if scenes else None

    with (
        Stage.build(seed=23, borrowers=40) as stage,
        CountingProxy(stage.anvil.http, intercept=intercept) as proxy,
    ):
        config = stage.write_config(
            folder / "scene.toml", http=proxy.http, extra={"reconcile": reconcile}
        )
        with Daemon(config, folder / "daemon.log", program=(PROGRAM, broken)) as daemon:
            scenes.append(Scene(stage, daemon, reconcile))
            daemon.wait_until(stage.node.number)
            yield scenes[0]


def somebody(stage: Stage, count: int) -> list[str]:
    """Return people with debt who are far from being flagged."""
    factors = stage.truth.health_factors(stage.truth.borrowers_now())
    safe = [user for user, factor in factors.items() if factor and 15 * 10**17 < factor < 10**20]
    return sorted(safe)[:count]


def test_an_account_that_lost_a_log_is_right_again_after_a_few_blocks(tmp_path: Path) -> None:
    with scene(tmp_path, ON, "lose_every_move") as play:
        [user] = somebody(play.stage, 1)
        lost_at = play.supply(user)
        assert len(play.wrong_at(lost_at)) >= 1
        blocks = [play.block() for _ in range(8)]
        assert play.wrong_at(blocks[-1]) == []
        until(lambda: play.logged("account_mended") != [])

        [line] = play.logged("account_diverges")
        truth = play.stage.truth.account_data([user], line["block"])[user]
        assert truth is not None
        figures = line["differences"]["total collateral"]
        assert line["user"] == user
        assert figures["theirs"] == str(truth.total_collateral)
        assert int(figures["ours"]) < truth.total_collateral
        assert play.daemon.metric("chimera_mirror_mismatches_total") == 1
        assert play.status()["mismatches"] == 1
        assert play.daemon.metric("chimera_rebuilds_total") == 0
        assert play.logged("market_quarantined") == []
        # Everybody was compared, and nobody else was found wrong.
        assert play.daemon.metric("chimera_reconciled_accounts_total") > play.status()["accounts"]


def test_without_comparing_it_stays_wrong(tmp_path: Path) -> None:
    with scene(tmp_path, OFF, "lose_every_move") as play:
        play.supply(*somebody(play.stage, 1))
        blocks = [play.block() for _ in range(8)]
        assert len(play.wrong_at(blocks[-1])) >= 1
        assert play.daemon.metric("chimera_reconciled_accounts_total") == 0
        assert play.status()["last_reconciled_block"] is None


def test_two_divergent_accounts_put_their_market_in_quarantine_until_it_is_clean(
    tmp_path: Path,
) -> None:
    with scene(tmp_path, ON, "lose_every_move") as play:
        users = somebody(play.stage, 2)
        play.block(shock=-1500)
        play.block()
        assert any(flag["liquidatable"] for flag in play.flags())
        play.blocked = True  # the rebuild goes through, the comparison after it does not
        play.supply(*users)
        play.mine_until(lambda: "unverified" in play.reasons())

        until(lambda: all(flag["reason"] == "unverified" for flag in play.flags()))
        assert play.flags()
        assert {(flag["liquidatable"], flag["best"]) for flag in play.flags()} == {(False, None)}
        until(lambda: play.logged("market_stays_quarantined") != [])
        assert play.wrong_at(play.block()) == []  # it was rebuilt; positions and health go on
        assert {flag["reason"] for flag in play.flags()} == {"unverified"}
        assert play.daemon.metric("chimera_markets_unverified") == 1

        play.blocked = False
        play.mine_until(lambda: "unverified" not in play.reasons())
        assert any(flag["liquidatable"] for flag in play.flags())
        assert "unverified" not in {flag["reason"] for flag in play.flags()}
        assert play.wrong_at(play.block()) == []
        assert play.daemon.metric("chimera_markets_unverified") == 0
        assert play.daemon.metric("chimera_mirror_mismatches_total") == 2
        assert len(play.logged("market_quarantined")) == len(play.logged("market_verified")) == 1
        assert play.witness.missed_and_extra() == (set(), set())


@pytest.mark.parametrize("reconcile", [ON, OFF], ids=["on", "off"])
def test_a_tampered_document_is_noticed_and_written_again(
    reconcile: Mapping[str, object], tmp_path: Path
) -> None:
    with Stage.build(seed=23, borrowers=12) as stage, RedisServer() as redis:
        extra = {"reconcile": reconcile, "redis": {"ttl": 10}}
        config = stage.write_config(tmp_path / "redis.toml", redis_url=redis.url, extra=extra)
        with (
            Daemon(config, tmp_path / "daemon.log") as daemon,
            Redis.from_url(redis.url, decode_responses=True) as client,
        ):
            play = Scene(stage, daemon, reconcile)
            daemon.wait_until(stage.node.number)
            time.sleep(11)  # for one time to live after the start nothing is compared
            play.block()
            assert daemon.metric("chimera_cache_mismatches_total") == 0
            [user] = somebody(stage, 1)  # who is near 1 is written after every block, unseen
            name = f"position:aave:{user}"
            document = json.loads(str(client.get(name)))

            def stands() -> dict[str, Any]:
                return json.loads(client.get(name) or "{}")  # type: ignore[no-any-return]

            def tamper(ahead: int) -> dict[str, Any]:
                block = stage.node.number + ahead
                tampered = {**document, "block": block, "health_factor": "9.0"}
                client.set(name, json.dumps(tampered, separators=(",", ":")), ex=3600)
                return tampered

            # Of a block soon to come: an honest daemon whose node is ahead may have written it.
            tampered = tamper(4)
            play.block()
            time.sleep(5)  # more than a round of the refresh
            play.block()
            assert stands() == tampered
            assert daemon.metric("chimera_cache_mismatches_total") == 0

            # Once that block is ours, it is written again; who compares it before that notices.
            def noticed() -> bool:
                tamper(1)
                head = play.block()
                until(lambda: stands() == its_position(head))
                return reconcile is OFF or daemon.metric("chimera_cache_mismatches_total") > 0

            def its_position(block: int) -> dict[str, Any]:
                found: dict[str, Any] = daemon.get(f"/v1/positions/aave/{document['user']}")[1]
                is_ours = found["block"] == block and found["health_factor"] != "9.0"
                return found if is_ours else {}

            until(noticed)
            # Nobody can be so far ahead: the refresh alone replaces it.
            tamper(1000)
            until(lambda: stands() == its_position(stage.node.number))
            noticed_at = {line["key"] for line in play.logged("position_diverges")}
            assert noticed_at == ({name} if reconcile is ON else set())
            assert (daemon.metric("chimera_cache_mismatches_total") > 0) == (reconcile is ON)


def test_every_family_mends_an_account_that_went_wrong(tmp_path: Path) -> None:
    with Town.build(seed=11, borrowers=12) as town:
        config = town.write_config(tmp_path / "town.toml")
        program = (PROGRAM, "spoil_one_debt_each")
        with Daemon(config, tmp_path / "daemon.log", program=program) as daemon:
            witness = TownWitness(town, daemon)
            witness.attend(town.node.number)

            def all_mended() -> bool:
                witness.mismatches.clear()
                number = town.node.mine(2)
                witness.attend(number)
                compared(daemon, number)
                return len(daemon.told("account_mended")) == len(MARKETS)

            witness.attend(town.node.mine(2))
            assert len({line.split(":")[1] for line in witness.mismatches}) >= len(MARKETS)
            until(all_mended)
            assert witness.mismatches == []
            protocols = daemon.get("/readyz")[1]["protocols"]
            assert {name: its["mismatches"] for name, its in protocols.items()} == dict.fromkeys(
                MARKETS, 1
            )
            assert daemon.metric("chimera_rebuilds_total") == 0
            assert daemon.metric("chimera_markets_unverified") == 0


def test_four_markets_through_a_life_raise_no_false_alarm(tmp_path: Path) -> None:
    with Town.build(seed=11, borrowers=25) as town, RedisServer() as redis:
        extra = {"redis": {"ttl": 10}}
        config = town.write_config(tmp_path / "town.toml", redis_url=redis.url, extra=extra)
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            witness = TownWitness(town, daemon)
            witness.attend(town.node.number)
            began = time.monotonic()
            for _ in range(30):
                number = town.step()
                witness.attend(number)
                compared(daemon, number)
            while time.monotonic() - began < 13:  # documents are compared 10 s after the start
                time.sleep(0.5)
                number = town.node.mine(2)
                witness.attend(number)
                compared(daemon, number)
            assert witness.mismatches == []
            assert witness.missed_and_extra() == (set(), set())
            for its in daemon.get("/readyz")[1]["protocols"].values():
                assert its["mismatches"] == 0
                assert its["last_reconciled_block"] is not None
            assert daemon.metric("chimera_cache_mismatches_total") == 0
            assert daemon.metric("chimera_reconciled_accounts_total") > 1000


def test_a_life_with_a_reorg_in_it_raises_no_false_alarm(tmp_path: Path) -> None:
    with Stage.build(seed=31, borrowers=60) as stage, RedisServer() as redis:
        extra = {"redis": {"ttl": 10}}
        config = stage.write_config(tmp_path / "life.toml", redis_url=redis.url, extra=extra)
        with Daemon(config, tmp_path / "daemon.log") as daemon:
            witness = Witness(stage, daemon)
            witness.attend(stage.node.number)
            witness.reorg(1)
            began = [time.monotonic()]
            for _ in range(16):
                number = stage.life.step().number
                witness.attend(number)
                compared(daemon, number)
                began.append(time.monotonic())
                time.sleep(1.0)  # documents are compared again 10 s after the reorg
            assert witness.mismatches == []
            assert witness.missed_and_extra() == (set(), set())
            status = daemon.get("/readyz")[1]["protocols"]["aave"]
            assert status["mismatches"] == 0
            assert daemon.metric("chimera_mirror_mismatches_total") == 0
            assert daemon.metric("chimera_cache_mismatches_total") == 0
            assert daemon.metric("chimera_reconciled_accounts_total") > 5 * status["accounts"]
            # Within eight blocks everybody had a turn.
            assert daemon.metric("chimera_reconcile_age_seconds") < time.monotonic() - began[-8]
            assert daemon.metric("chimera_rebuilds_total") <= 1  # the reorg under the first block


class HeldViews(CountingProxy):
    """A node that keeps comparisons waiting until it is told to go on, and nothing else."""

    waiting = most_waiting = 0

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._go_on = asyncio.Event()

    def go_on(self) -> None:
        self._loop.call_soon_threadsafe(self._go_on.set)

    async def _pass_request(self, request: web.Request) -> web.Response:
        if VIEW in (await request.read()).decode():
            self.waiting += 1
            self.most_waiting = max(self.waiting, self.most_waiting)
            await self._go_on.wait()
            self.waiting -= 1
        return await super()._pass_request(request)


def test_no_block_waits_for_a_comparison(tmp_path: Path) -> None:
    patient = (
        "from chimera.app import build; build.TIMEOUT = 600.0; from chimera.cli import main; main()"
    )
    with Stage.build(seed=23, borrowers=40) as stage, HeldViews(stage.anvil.http) as proxy:
        config = stage.write_config(
            tmp_path / "held.toml", http=proxy.http, ws=proxy.ws, extra={"reconcile": ON}
        )
        with Daemon(config, tmp_path / "daemon.log", program=("-c", patient)) as daemon:
            daemon.wait_until(stage.node.number)
            daemon.wait_until(stage.life.quiet())
            until(lambda: proxy.waiting == 1)
            for _ in range(20):
                daemon.wait_until(stage.life.quiet())
            assert (proxy.waiting, proxy.most_waiting) == (1, 1)
            status = daemon.get("/readyz")[1]["protocols"]["aave"]
            assert status["last_reconciled_block"] is None
            proxy.go_on()
            until(lambda: daemon.metric("chimera_reconciled_accounts_total") > 0)
