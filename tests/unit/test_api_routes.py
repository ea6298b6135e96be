from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from chimera.api.server import build_app
from chimera.domain.notices import ProtocolStatus
from tests.fakes_api import (
    ALICE,
    BOB,
    FLAG,
    HUGE,
    READY,
    SAFE,
    UNDER,
    USDC,
    Client,
    FakeOperator,
    FakeOpportunities,
    FakePositions,
)


class Daemon:
    def __init__(self) -> None:
        self.positions = FakePositions()
        self.opportunities = FakeOpportunities()
        self.operator = FakeOperator()
        self.seen: list[tuple[str, int, float]] = []
        self.client = Client(
            build_app(
                positions=self.positions,
                opportunities=self.opportunities,
                operator=self.operator,
                metrics_text=lambda: b"chimera_ready 1.0\n",
                observe=lambda *request: self.seen.append(request),
            )
        )


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


async def test_the_process_says_that_it_works(daemon: Daemon) -> None:
    assert (await daemon.client.get("/healthz")).status == 200


async def test_readiness_has_every_promised_field(daemon: Daemon) -> None:
    answer = await daemon.client.get("/readyz")

    assert answer.status == 200
    assert answer.json == {
        "ready": True,
        "chain_id": 8453,
        "head": 120,
        "processed_block": 120,
        "lag_blocks": 0,
        "redis": "connected",
        "breaker": "closed",
        "reasons": [],
        "protocols": {
            "aave": {
                "accounts": 2,
                "borrowers": 2,
                "last_reconciled_block": 118,
                "mismatches": 0,
                "exact_within_blocks": 0,
            }
        },
        "degraded": False,
        "complete_up_to": 0,
        "complete_since": 0,
        "faults": [],
    }


async def test_lagging_behind_is_a_503_with_the_same_body(daemon: Daemon) -> None:
    lagging = replace(READY, ready=False, lag_blocks=3, reasons=("3 blocks behind",))
    daemon.operator.state = replace(lagging, protocols={"comet": ProtocolStatus(1, 1)})

    answer = await daemon.client.get("/readyz")

    assert answer.status == 503
    assert answer.json["reasons"] == ["3 blocks behind"]
    assert answer.json["protocols"]["comet"]["last_reconciled_block"] is None


async def test_metrics_are_text_as_prometheus_reads_it(daemon: Daemon) -> None:
    answer = await daemon.client.get("/metrics")

    assert answer.body == b"chimera_ready 1.0\n"
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_a_listing_holds_the_documents_of_the_positions(daemon: Daemon) -> None:
    answer = await daemon.client.get("/v1/positions")

    documents = [json.loads(json.dumps(item.document())) for item in (UNDER, SAFE)]
    assert answer.json == {"block": 120, "items": documents, "next_cursor": None}


async def test_amounts_past_64_bits_stay_exact_integers(daemon: Daemon) -> None:
    answer = await daemon.client.get(f"/v1/positions/aave/{ALICE}")

    assert f'"collateral_amount":{HUGE},'.encode() in answer.body
    assert f'"debt_amount":{2**53 + 1},'.encode() in answer.body


async def test_filters_arrive_as_exact_values(daemon: Daemon) -> None:
    await daemon.client.get(
        "/v1/positions",
        protocol="aave",
        user=BOB,
        asset=USDC.lower(),
        max_health_factor="1.000000000000000001",
        limit="7",
        cursor="at-0",
    )

    assert daemon.positions.asked == {
        "protocol": "aave",
        "user": bytes.fromhex(BOB[2:]),
        "asset": bytes.fromhex(USDC[2:]),
        "max_health_factor": 10**18 + 1,
        "limit": 7,
        "cursor": "at-0",
    }


async def test_a_listing_without_filters_asks_for_a_hundred(daemon: Daemon) -> None:
    await daemon.client.get("/v1/positions", cursor="")

    assert daemon.positions.asked["limit"] == 100
    assert daemon.positions.asked["max_health_factor"] is None
    assert daemon.positions.asked["cursor"] is None


@pytest.mark.parametrize(
    ("text", "wad"),
    [
        ("0", 0),
        ("1", 10**18),
        ("1.05", 105 * 10**16),
        ("1.0000000000000000009", 10**18),
        ("79228162514264337593543950336", 2**96 * 10**18),
    ],
)
async def test_an_upper_bound_is_never_rounded(daemon: Daemon, text: str, wad: int) -> None:
    await daemon.client.get("/v1/positions", max_health_factor=text)

    assert daemon.positions.asked["max_health_factor"] == wad


async def test_pages_follow_one_another(daemon: Daemon) -> None:
    first = (await daemon.client.get("/v1/positions", limit="1")).json
    second = (await daemon.client.get("/v1/positions", limit="1", cursor=first["next_cursor"])).json

    assert [item["user"] for item in first["items"] + second["items"]] == [BOB, ALICE]
    assert second["next_cursor"] is None


async def test_a_thousand_positions_come_in_order(daemon: Daemon) -> None:
    daemon.positions.items = [replace(SAFE, debt_amount=index) for index in range(1000)]

    answer = await daemon.client.get("/v1/positions", limit="1000")

    assert [item["debt_amount"] for item in answer.json["items"]] == list(range(1000))


@pytest.mark.parametrize("user", [ALICE, ALICE.lower(), f"0x{ALICE[2:].upper()}"])
async def test_one_account_is_found_by_its_address_in_any_case(daemon: Daemon, user: str) -> None:
    answer = await daemon.client.get(f"/v1/positions/aave/{user}")

    assert answer.status == 200
    assert answer.json["user"] == ALICE


async def test_why_gives_the_steps_and_the_verdict(daemon: Daemon) -> None:
    answer = await daemon.client.get(f"/v1/positions/aave/{BOB}/why")

    assert answer.json["steps"] == [{"name": "collateral", "value": "3000.00000000 USD"}]
    assert answer.json["health_factor"] == "0.980000000000000000"
    assert answer.json["verdict"] == "flagged: under 1 for 3 blocks in a row; liquidatable"


async def test_why_names_the_rule_against_a_liquidation(daemon: Daemon) -> None:
    daemon.positions.contract = "not liquidatable: the market is paused"

    answer = await daemon.client.get(f"/v1/positions/aave/{BOB}/why")

    assert "; not liquidatable: the market is paused (" in answer.json["verdict"]


async def test_episodes_are_listed_with_all_their_fields(daemon: Daemon) -> None:
    answer = await daemon.client.get("/v1/opportunities", state="open", protocol="aave")

    assert answer.json == {"block": 120, "items": [asdict(FLAG)], "next_cursor": None}


async def test_episodes_can_be_chosen_by_state(daemon: Daemon) -> None:
    closed = replace(FLAG, id="other", state="closed")
    daemon.opportunities.items = [FLAG, closed]

    both = await daemon.client.get("/v1/opportunities")
    only = await daemon.client.get("/v1/opportunities", state="closed")

    assert [item["id"] for item in both.json["items"]] == [FLAG.id, "other"]
    assert [item["id"] for item in only.json["items"]] == ["other"]


async def test_the_described_documents_are_those_that_are_sent(daemon: Daemon) -> None:
    schema = (await daemon.client.get("/openapi.json")).json
    shapes = schema["components"]["schemas"]

    assert set(shapes["Position"]["properties"]) == set(SAFE.document())
    assert set(shapes["Opportunity"]["properties"]) == set(FLAG.document())
    limit = next(
        parameter
        for parameter in schema["paths"]["/v1/positions"]["get"]["parameters"]
        if parameter["name"] == "limit"
    )
    assert limit["schema"]["maximum"] == 1000


async def test_requests_are_counted_by_their_route(daemon: Daemon) -> None:
    await daemon.client.get(f"/v1/positions/aave/{ALICE}")
    await daemon.client.get("/nowhere")

    assert [(route, status) for route, status, _ in daemon.seen] == [
        ("/v1/positions/{protocol}/{user}", 200),
        ("other", 404),
    ]
