"""What strangers ask over HTTP, and what a daemon that is none answers to the command line."""

from __future__ import annotations

import asyncio
import base64
import json
from urllib.parse import quote

from hypothesis import strategies as st

from chimera.api.server import build_app
from chimera.detection.detector import OpportunityDetector
from chimera.detection.ledger import OpportunityLedger
from chimera.state.listing import _cursor
from chimera.state.snapshot import Filters
from tests.fakes_api import ALICE, FLAG, USDC, Answer, Client, FakeOperator
from tests.fuzz.fuzzing import EDGES, TEXTS, Draw, Fuzz, rarely, spoiled, spoiled_json
from tests.unit.test_state_listing import Room

PATHS: tuple[str, ...] = (
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/v1/rebuild",
    "/v1/positions",
)
PATHS += ("/v1/opportunities", f"/v1/positions/one/{ALICE}", f"/v1/positions/one/{ALICE}/why", "/")
LISTINGS = ("/v1/positions", "/v1/opportunities")
NAMES = (
    "protocol",
    "user",
    "asset",
    "max_health_factor",
    "limit",
    "state",
    "x",
    "",
    "cursor",
    "cursor",
    "cursor",
)
GOOD = ("one", ALICE, USDC, "1.05", "100", "open", "closed", ALICE.lower(), "0", "1000", "1001")
HEADERS: tuple[str, ...] = (
    "origin",
    "host",
    "content-type",
    "content-length",
    "accept",
    "x-forwarded-for",
)
HEADERS += ("forwarded", "range", "transfer-encoding", "cookie", "x-http-method-override")
SAID: tuple[str, ...] = (
    "http://[::1",
    "http://localhost:1",
    "null",
    "application/json",
    "text/plain",
    'a;b="c',
)
SAID += ("application/json; charset=utf-77", "http://[::ffff:127.0.0.1]", "//[", "http://\u2100.x")
SAID += ("multipart/form-data; boundary=x", "application/x+json", "", "\xff", "chunked", "-1")
PEERS = ("127.0.0.1", "::1", "10.0.0.1", "::ffff:127.0.0.1", "", "fe80::1%eth0", "unix:")
LISTED = {"protocol": "one", "from_block": 5}
WORDS = st.one_of(
    st.sampled_from(GOOD),
    st.sampled_from([text for text in TEXTS if text.isascii()]),
    st.sampled_from(EDGES).map(str),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
FINE = {200, 503}


class Site:
    """The real application over a real book and ledger."""

    def __init__(self) -> None:
        self.room = Room(borrowers=20)
        ledger = OpportunityLedger(OpportunityDetector(chain_id=1))
        ledger.record([FLAG])
        self.app = build_app(
            positions=self.room.listing,
            opportunities=ledger,
            operator=FakeOperator(),
            metrics_text=lambda: b"chimera_ready 1.0\n",
            observe=lambda *_: None,
        )

    def judge(self, path: str, method: str, answer: Answer) -> None:
        assert answer.status != 500
        if answer.status not in FINE and method != "HEAD":
            assert isinstance(answer.error["message"], str)
            assert answer.error["code"].isidentifier()
        elif path.startswith("/v1") and method == "GET":
            json.loads(answer.body)


def test_requests(fuzz: Fuzz) -> None:
    site = Site()

    async def ask(draw: Draw) -> None:
        method = draw(st.sampled_from(["GET"] * 6 + ["POST"] * 3 + ["HEAD", "PUT", "X"]))
        path = draw(st.sampled_from(LISTINGS if draw(st.booleans()) else PATHS))
        if rarely(draw, one_in=4):
            path += draw(st.one_of(st.just("/"), WORDS, WORDS.map("/{}".format)))
        if rarely(draw, one_in=6):
            path = path.replace("one", draw(WORDS)).replace(ALICE, draw(WORDS))
        body, headers = b"", {}
        if method == "POST":
            path = "/v1/rebuild"
            body, headers = a_body(draw), {"content-type": "application/json"}
        for name in draw(st.lists(st.sampled_from(HEADERS), max_size=2)):
            headers[name] = draw(st.one_of(st.sampled_from(SAID), WORDS))
        query = "" if method == "POST" else a_query(draw, site.room)
        client = Client(site.app, peer=draw(st.sampled_from(PEERS)))
        answer = await client.call(method, path, query=query, body=body, headers=headers)
        site.judge(path, method, answer)

    with asyncio.Runner() as runner:
        fuzz(lambda draw: runner.run(ask(draw)))


def test_cursors(fuzz: Fuzz) -> None:
    site = Site()

    async def ask(draw: Draw) -> None:
        path = draw(st.sampled_from(LISTINGS))
        query = f"cursor={quote(a_cursor(draw, site.room))}"
        if draw(st.booleans()):
            query += f"&protocol={draw(st.sampled_from(['one', 'two', 'aave']))}"
        if rarely(draw, one_in=4):
            query += f"&limit={draw(st.sampled_from([1, 5, 1000]))}"
        answer = await Client(site.app).call("GET", path, query=query)
        site.judge(path, "GET", answer)
        assert answer.status in {200, 410, 422}

    with asyncio.Runner() as runner:
        fuzz(lambda draw: runner.run(ask(draw)))


def a_query(draw: Draw, room: Room) -> str:
    parts = []
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=3)):
        word = a_cursor(draw, room) if name == "cursor" else draw(WORDS)
        parts.append(f"{name}={quote(word) if draw(st.booleans()) else word}")
    if rarely(draw, one_in=8):
        parts.append(draw(st.text(st.sampled_from("%&=;+[]\0\xff0aZ"), max_size=30)))
    return "&".join(parts)


def a_cursor(draw: Draw, room: Room) -> str:
    """One of ours, nearly one of ours, or none."""
    filters = Filters(draw(st.sampled_from([None, "one"])), None, None, None)
    places = st.one_of(st.integers(0, 50), st.sampled_from([2**63 - 1, 2**63, 2**64 - 1]))
    ours = draw(
        st.sampled_from(
            [
                _cursor(room.engine.book.block.hash, draw(places), filters),
                base64.urlsafe_b64encode(f"{draw(places)}:{draw(WORDS)}".encode()).decode(),
                draw(WORDS),
            ]
        )
    )
    if rarely(draw, one_in=3):
        return spoiled(draw, ours.encode()).decode("latin-1")
    return ours


def a_body(draw: Draw) -> bytes:
    return json.dumps(LISTED).encode() if draw(st.booleans()) else spoiled_json(draw, LISTED)
