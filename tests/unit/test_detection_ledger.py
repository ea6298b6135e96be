"""The listing of episodes behind the HTTP API."""

from dataclasses import replace

import pytest

from chimera.detection.detector import OpportunityDetector
from chimera.detection.ledger import OpportunityLedger
from chimera.domain.opportunity import Opportunity
from chimera.errors import BadCursor
from tests.fakes_detection import FakeChain


class Desk:
    """A detector and its ledger, fed together."""

    def __init__(self, *, keep: int = 10_000) -> None:
        self.chain = FakeChain()
        self.detector = OpportunityDetector(chain_id=1)
        self.ledger = OpportunityLedger(self.detector, keep=keep)

    def mine(self, **health: str) -> list[Opportunity]:
        changed = self.detector.observe(self.chain.mine(**health))
        self.ledger.record(changed)
        return changed

    def page(
        self,
        *,
        state: str | None = None,
        protocol: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[int, list[Opportunity], str | None]:
        return self.ledger.page(state=state, protocol=protocol, limit=limit, cursor=cursor)


def test_an_empty_ledger_has_an_empty_page() -> None:
    assert Desk().page() == (0, [], None)


def test_open_episodes_are_listed_as_of_the_newest_block() -> None:
    desk = Desk()
    for health in ("0.9", "0.8", "0.7"):
        desk.mine(alice=health)

    block, (item,), cursor = desk.page()

    assert (block, cursor) == (102, None)
    assert (item.health_factor, item.blocks_unhealthy) == ("0.700000000000000000", 3)


def test_the_last_flagged_comes_first_whatever_its_state() -> None:
    desk = Desk()
    desk.mine(alice="0.9")
    desk.mine(alice="0.9", bob="0.9")
    desk.mine(bob="0.9")
    desk.mine(carol="0.9", bob="0.9")
    desk.mine(carol="0.9")

    _, items, _ = desk.page()

    assert [(o.flagged_block, o.state) for o in items] == [
        (104, "open"),
        (102, "closed"),
        (101, "closed"),
    ]


def test_a_state_and_a_protocol_narrow_the_listing() -> None:
    desk = Desk()
    desk.mine(alice="0.9")
    desk.mine(alice="0.9", bob="0.9")
    desk.mine(bob="0.9")

    assert [o.flagged_block for o in desk.page(state="open")[1]] == [102]
    assert [o.flagged_block for o in desk.page(state="closed")[1]] == [101]
    assert len(desk.page(protocol="aave")[1]) == 2
    assert desk.page(protocol="moonwell")[1] == []


def test_a_protocol_is_all_its_isolated_markets_or_one_of_them() -> None:
    desk = Desk()
    desk.mine(alice="0.9")
    desk.mine(alice="0.9")
    [closed] = desk.mine()
    desk.ledger.record([replace(closed, protocol="morpho.0xab", id="another")])

    assert [o.protocol for o in desk.page(protocol="morpho")[1]] == ["morpho.0xab"]
    assert [o.protocol for o in desk.page(protocol="morpho.0xab")[1]] == ["morpho.0xab"]
    assert desk.page(protocol="morpho.0xcd")[1] == []
    assert [o.protocol for o in desk.page(protocol="aave")[1]] == ["aave"]


def test_pages_follow_each_other_while_episodes_arrive() -> None:
    desk = Desk()
    desk.mine(alice="0.9", bob="0.9", carol="0.9")
    desk.mine(alice="0.9", bob="0.9", carol="0.9")
    everything = [o.id for o in desk.page()[1]]

    _, first, cursor = desk.page(limit=2)
    desk.mine(dave="0.9")
    desk.mine(dave="0.9")
    _, rest, end = desk.page(limit=2, cursor=cursor)

    assert [o.id for o in [*first, *rest]] == everything
    assert end is None


def test_a_page_that_ends_with_the_last_item_has_no_cursor() -> None:
    desk = Desk()
    desk.mine(alice="0.9", bob="0.9")
    desk.mine(alice="0.9", bob="0.9")

    assert desk.page(limit=2)[2] is None


@pytest.mark.parametrize("cursor", ["", "x", "nonsense", "!!!!", "é", "MTAx", "YTpi"])
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        Desk().page(cursor=cursor)


def test_the_earliest_closed_are_forgotten_first_and_open_ones_never() -> None:
    desk = Desk(keep=1)
    desk.mine(alice="0.9", carol="0.9")
    desk.mine(alice="0.9", carol="0.9", bob="0.9")
    desk.mine(bob="0.9", carol="0.9")
    desk.mine(carol="0.9")

    assert [(o.closed_block, o.state) for o in desk.page()[1]] == [(103, "closed"), (None, "open")]


def test_an_episode_that_is_open_again_is_listed_once() -> None:
    desk = Desk()
    desk.mine(alice="0.9")
    (first,) = desk.mine(alice="0.9")
    desk.mine()

    desk.ledger.record(desk.detector.rollback(desk.chain.drop(1)))

    assert desk.page() == (101, [first], None)


def test_closed_episodes_come_back_after_a_restart() -> None:
    desk = Desk()
    desk.mine(alice="0.9")
    desk.mine(alice="0.9", bob="0.9")
    desk.mine(bob="0.9")
    stored = desk.page()[1]
    restarted = OpportunityDetector(chain_id=1)
    ledger = OpportunityLedger(restarted)

    restarted.restore(stored, desk.detector.checkpoint())
    ledger.restore(stored)

    page = ledger.page(state=None, protocol=None, limit=10, cursor=None)
    assert page == (102, stored, None)
