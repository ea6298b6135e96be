from __future__ import annotations

import asyncio

import pytest

from chimera.api.server import build_app
from chimera.errors import Refuse, Retry, Skip
from tests.fakes_api import ALICE, BOB, Client, FakeOperator, FakeOpportunities, FakePositions

MISTYPED = ALICE.replace("5aA", "5aa")


def serve(operator: FakeOperator | None = None, peer: str = "127.0.0.1") -> Client:
    app = build_app(
        positions=FakePositions(),
        opportunities=FakeOpportunities(),
        operator=operator or FakeOperator(),
        metrics_text=lambda: b"",
    )
    return Client(app, peer)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("limit=", "limit"),
        ("user=0x1234", "user"),
        ("user=alice", "user"),
        (f"user={MISTYPED}", "user"),
        (f"asset={BOB[:-1]}", "asset"),
        ("asset=", "asset"),
        ("max_health_factor=high", "max_health_factor"),
        ("max_health_factor=-1", "max_health_factor"),
        ("max_health_factor=1e0", "max_health_factor"),
        ("max_health_factor=NaN", "max_health_factor"),
        ("max_health_factor=", "max_health_factor"),
        ("max_health_factor=%D9%A1", "max_health_factor"),
        ("protocol=", "protocol"),
        ("cursor=forged", "cursor"),
        ("max_healthfactor=1", "max_healthfactor"),
        ("protocol=aave&protocol=comet", "protocol"),
    ],
)
async def test_a_bad_filter_of_positions_is_named(query: str, name: str) -> None:
    answer = await serve().call("GET", "/v1/positions", query=query)

    assert answer.status == 422
    assert answer.error["code"] == "bad_parameter"
    assert answer.error["message"].startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("state=ajar", "state"),
        ("limit=1001", "limit"),
        ("cursor=forged", "cursor"),
        ("user=x", "user"),
        ("state=open&state=closed", "state"),
    ],
)
async def test_a_bad_filter_of_opportunities_is_named(query: str, name: str) -> None:
    answer = await serve().call("GET", "/v1/opportunities", query=query)

    assert answer.status == 422
    assert answer.error["message"].startswith(f"{name}: ")


async def test_all_bad_parameters_are_named_at_once() -> None:
    answer = await serve().get("/v1/positions", limit="0", user="x")

    assert "limit: " in answer.error["message"]
    assert "user: " in answer.error["message"]


@pytest.mark.parametrize("tail", ["", "/why"])
async def test_a_bad_address_in_the_path_is_named(tail: str) -> None:
    answer = await serve().get(f"/v1/positions/aave/{MISTYPED}{tail}")

    assert answer.status == 422
    assert answer.error["message"].startswith("user: ")


@pytest.mark.parametrize("tail", ["", "/why"])
async def test_an_account_has_no_further_parameters(tail: str) -> None:
    answer = await serve().get(f"/v1/positions/aave/{ALICE}{tail}", block="3")

    assert answer.status == 422
    assert answer.error["message"].startswith("block: ")


@pytest.mark.parametrize("tail", ["", "/why"])
async def test_an_unknown_account_is_a_404(tail: str) -> None:
    answer = await serve().get(f"/v1/positions/comet/{ALICE.lower()}{tail}")

    assert answer.status == 404
    assert answer.error["code"] == "not_found"
    assert ALICE in answer.error["message"]


async def test_a_cursor_whose_block_is_gone_is_a_410() -> None:
    answer = await serve().get("/v1/positions", cursor="stale")

    assert answer.status == 410
    assert answer.error["code"] == "stale_cursor"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/positions/", "/v1/positions/aave", "/docs"])
async def test_an_unknown_path_is_a_404_in_the_same_shape(path: str) -> None:
    answer = await serve().get(path)

    assert answer.status == 404
    assert answer.error["code"] == "not_found"


async def test_a_wrong_method_is_a_405_in_the_same_shape() -> None:
    answer = await serve().post("/v1/positions")

    assert answer.status == 405
    assert answer.error["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "GET"


async def test_a_crash_is_a_500_that_tells_nothing_of_our_insides() -> None:
    sent: list[int] = []
    operator = FakeOperator(error=RuntimeError("secret"))
    client = serve(operator)
    app = client.app

    async def server(scope, receive, send):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        try:
            await app(scope, receive, send)
        except RuntimeError:
            sent.append(1)  # it still reaches the server, which logs it

    client.app = server
    answer = await client.post("/v1/rebuild")

    assert answer.status == 500
    assert answer.error["code"] == "internal"
    assert b"secret" not in answer.body
    assert sent == [1]


async def test_a_rebuild_reports_what_it_did() -> None:
    operator = FakeOperator()

    answer = await serve(operator).post("/v1/rebuild", {"protocol": "aave", "from_block": 5})

    assert answer.json == {"accounts": 2, "mismatches": 0, "milliseconds": 1500}
    assert operator.asked == [("aave", 5)]


async def test_a_rebuild_without_a_body_is_one_of_everything() -> None:
    operator = FakeOperator()

    assert (await serve(operator).post("/v1/rebuild")).status == 200
    assert operator.asked == [(None, None)]


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"from_block": -1}, "from_block"),
        ({"from_block": "5"}, "from_block"),
        ({"from_block": True}, "from_block"),
        ({"protocol": ""}, "protocol"),
        ({"protocol": "moonwel"}, "protocol"),
        ({"form_block": 5}, "form_block"),
        ([], "body"),
        ("all", "body"),
    ],
)
async def test_a_bad_request_for_a_rebuild_is_named(document: object, name: str) -> None:
    operator = FakeOperator()

    answer = await serve(operator).post("/v1/rebuild", document)

    assert answer.status == 422
    assert answer.error["message"].startswith(f"{name}: ")
    assert operator.asked == []


async def test_a_body_that_is_not_json_is_named() -> None:
    headers = {"content-type": "application/json"}

    answer = await serve().call("POST", "/v1/rebuild", body=b"{", headers=headers)

    assert answer.status == 422
    assert answer.error["message"].startswith("body: ")


async def test_a_second_rebuild_at_a_time_is_a_409() -> None:
    operator = FakeOperator(may_end=asyncio.Event())
    client = serve(operator)
    first = asyncio.create_task(client.post("/v1/rebuild"))
    await operator.begun.wait()

    second = await client.post("/v1/rebuild")
    assert operator.may_end is not None
    operator.may_end.set()

    assert second.status == 409
    assert second.error["code"] == "busy"
    assert (await first).status == 200
    assert (await client.post("/v1/rebuild")).status == 200


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Refuse("from_block: later than the head"), 422, "bad_parameter"),
        (Skip("the first bootstrap is still running"), 409, "not_now"),
        (Retry("the node does not answer"), 503, "unavailable"),
    ],
)
async def test_a_rebuild_that_cannot_be_done_says_why(
    error: Exception, status: int, code: str
) -> None:
    answer = await serve(FakeOperator(error=error)).post("/v1/rebuild")

    assert answer.status == status
    assert answer.error == {"code": code, "message": str(error)}


@pytest.mark.parametrize("peer", ["10.0.0.7", "2001:db8::1", "::ffff:10.0.0.7", ""])
async def test_a_stranger_cannot_ask_for_a_rebuild(peer: str) -> None:
    operator = FakeOperator()

    answer = await serve(operator, peer).post("/v1/rebuild")

    assert answer.status == 403
    assert answer.error["code"] == "forbidden"
    assert operator.asked == []


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"])
async def test_programs_on_the_same_machine_can_ask_for_a_rebuild(peer: str) -> None:
    assert (await serve(peer=peer).post("/v1/rebuild")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "10.0.0.7"},
        {"forwarded": "for=10.0.0.7"},
        {"origin": "https://example.org"},
        {"origin": "null"},
    ],
)
async def test_strangers_cannot_hide_behind_a_proxy_or_a_browser(headers: dict[str, str]) -> None:
    assert (await serve().post("/v1/rebuild", {}, headers)).status == 403


async def test_a_page_of_this_machine_can_ask_for_a_rebuild() -> None:
    headers = {"origin": "http://127.0.0.1:9650"}

    assert (await serve().post("/v1/rebuild", {}, headers)).status == 200
