"""What counts as degraded, for how long, and how often somebody is told."""

from structlog.testing import capture_logs

from chimera.app.condition import (
    DROPPED_SHOWN,
    GAP_SHOWN,
    LONGEST_WAIT,
    MOST_GAP,
    MOST_KEPT,
    SILENCE,
    Alerts,
    Condition,
    Door,
    Facts,
    breaker,
)
from chimera.domain.block import Block, BlockHash

START = 1_700_000_000


class Clock:
    """A clock that a test moves."""

    now = float(START)

    def __call__(self) -> float:
        return self.now


def block(timestamp: int = START, number: int = 7) -> Block:
    return Block(number, BlockHash(bytes(32)), BlockHash(bytes(32)), timestamp)


def conditioned(clock: Clock) -> Condition:
    return Condition(block_time=2.0, clock=clock, wall=clock)


def test_all_is_well() -> None:
    its = conditioned(Clock())

    assert its.reasons(Facts(head=7, processed=block())) == []
    assert its.look(Facts(head=7, processed=block())) == {}


def test_before_the_first_block_there_is_one_reason_and_nothing_degraded() -> None:
    clock = Clock()
    its = conditioned(clock)
    clock.now += 3_600

    assert len(its.reasons(Facts(head=0, processed=None))) == 1
    assert its.degraded(Facts(head=0, processed=None)) == {}


def test_no_block_for_five_block_times_is_a_stall() -> None:
    clock = Clock()
    its = conditioned(clock)
    its.took(live=True)
    clock.now += 10.0
    facts = Facts(head=7, processed=block(START + 10))
    assert its.degraded(facts) == {}
    clock.now += 0.5
    assert its.degraded(facts) == {"stalled": "no block for 10 s"}

    its.took(live=True)
    assert its.degraded(facts) == {}


def test_a_gap_of_more_than_three_blocks_is_shown_for_a_while() -> None:
    clock = Clock()
    its = conditioned(clock)

    def found() -> dict[str, str]:
        return its.degraded(Facts(head=7, processed=block(int(clock.now))))

    def filled(blocks: int) -> None:
        for behind in reversed(range(blocks)):
            its.took(live=False, behind=behind)

    filled(MOST_GAP)
    filled(MOST_GAP)
    its.took(live=True)
    assert found() == {}
    filled(MOST_GAP + 1)
    its.took(live=True)
    assert found() == {"gap": "a gap of 4 blocks was filled"}

    clock.now += GAP_SHOWN + 1
    its.took(live=True)
    assert found() == {}


def test_blocks_that_nobody_announces_are_no_gap_while_asking_keeps_up() -> None:
    clock = Clock()
    its = conditioned(clock)
    facts = Facts(head=7, processed=block())
    its.took(live=False, behind=MOST_GAP)
    for behind in (2, 1, 0):
        its.took(live=False, behind=behind)
    assert "gap" in its.degraded(facts)
    clock.now += GAP_SHOWN + 1
    facts = Facts(head=7, processed=block(int(clock.now)))

    for behind in (1, 0, 0, 1, 0, 1, 1, 1, 0):
        its.took(live=False, behind=behind)

    assert its.degraded(facts) == {}


def test_a_head_more_than_twenty_seconds_behind_the_clock_is_stale() -> None:
    its = conditioned(Clock())

    assert its.degraded(Facts(head=7, processed=block(START - 20))) == {}
    assert its.degraded(Facts(head=7, processed=block(START - 21))) == {
        "stale": "the newest block is 21 s old"
    }


def test_a_head_of_the_future_is_no_fault() -> None:
    its = conditioned(Clock())

    assert its.degraded(Facts(head=7, processed=block(START + 86_400))) == {}


def test_a_preferred_endpoint_that_rests_is_named() -> None:
    its = conditioned(Clock())
    doors = (Door("a.example", "closed"), Door("b.example", "half-open", "it was down"))
    facts = Facts(head=7, processed=block(), doors=doors)

    assert its.reasons(facts) == ["endpoint b.example is left alone: it was down"]
    assert its.degraded(facts) == {}
    assert breaker(doors) == "half-open"
    assert breaker([*doors, Door("c.example", "open")]) == "open"
    assert breaker(doors[:1]) == breaker([]) == "closed"


def test_an_endpoint_that_waits_in_reserve_is_named_and_alerted_of_but_breaks_nothing() -> None:
    told: list[str] = []
    clock = Clock()
    its = Condition(block_time=2.0, clock=clock, wall=clock, on_alert=told.append)
    doors = (Door("a.example", "closed"), Door("b.example", "open", "it lags", preferred=False))
    facts = Facts(head=7, processed=block(), doors=doors)

    assert its.look(facts) == {}
    assert its.reasons(facts) == ["endpoint b.example is left alone: it lags"]
    assert told == ["endpoint b.example"]
    assert breaker(doors) == "closed"


def test_a_sequencer_that_is_not_well_degrades_the_daemon_and_is_alerted_of_once() -> None:
    told: list[str] = []
    clock = Clock()
    its = Condition(block_time=2.0, clock=clock, wall=clock, on_alert=told.append)
    facts = Facts(head=7, processed=block(), sequencer="the sequencer is down, for 3 s")

    for _ in range(3):
        assert its.look(facts) == {"sequencer": "the sequencer is down, for 3 s"}
    assert its.reasons(facts) == ["the sequencer is down, for 3 s"]
    assert told == ["sequencer"]
    assert its.look(Facts(head=7, processed=block())) == {}


def test_a_protocol_that_was_left_out_degrades_the_daemon() -> None:
    told: list[str] = []
    clock = Clock()
    its = Condition(block_time=2.0, clock=clock, wall=clock, on_alert=told.append)
    facts = Facts(head=7, processed=block(), left_out={"venus": "it mints", "old": "it is gone"})
    both = "venus is not followed any more: it mints; old is not followed any more: it is gone"

    assert its.look(facts) == {"left_out": both}
    assert its.reasons(facts) == [both]
    assert told == ["left_out"]


def test_what_is_not_told_to_others_is_alerted_of_and_degrades_nothing() -> None:
    told: list[str] = []
    clock = Clock()
    its = Condition(block_time=2.0, clock=clock, wall=clock, on_alert=told.append)
    markets = ("m.1", "m.2", "m.3", "m.4")
    facts = Facts(
        head=7,
        processed=block(),
        redis="fallback",
        quarantined=markets,
        history_pending=12,
        history_waits=LONGEST_WAIT + 1,
        flags_dropped=2,
        episodes_dropped=3,
    )

    for _ in range(2):
        assert its.look(facts) == {}

    assert told == ["redis", "history", "dropped", "quarantine"]
    assert [fault.about for fault in its.alerts.faults] == [
        "Redis does not answer: positions are kept in memory",
        "the history takes nothing: 12 facts wait, the oldest for 31 s",
        "dropped since the start: 2 flags for Redis, 3 episodes for the history",
        "in quarantine: m.1, m.2, m.3 and 1 more",
    ]
    assert len(its.reasons(facts)) == 3 + len(markets)


def test_what_was_dropped_is_shown_for_a_while_and_again_when_more_is() -> None:
    clock = Clock()
    its = conditioned(clock)

    def reasons(dropped: int) -> int:
        facts = Facts(head=7, processed=block(int(clock.now)), flags_dropped=dropped)
        its.took(live=True)
        its.look(facts)
        return len(its.reasons(facts))

    assert [reasons(0), reasons(2)] == [0, 1]
    clock.now += DROPPED_SHOWN
    assert [reasons(2), reasons(3)] == [0, 1]


def test_a_history_that_is_slow_is_no_fault() -> None:
    facts = Facts(head=7, processed=block(), history_pending=900, history_waits=LONGEST_WAIT)

    assert conditioned(Clock()).reasons(facts) == []


def test_an_alert_is_sent_once_in_five_minutes_however_often_the_fault_comes() -> None:
    clock = Clock()
    told: list[str] = []
    alerts = Alerts(clock=clock, wall=clock, on_alert=told.append)
    with capture_logs() as logs:
        for _ in range(30):  # every ten seconds on, every ten seconds off
            alerts.now_wrong({"stalled": "no block"})
            alerts.now_wrong({})
            clock.now += SILENCE / 30
        assert told == ["stalled"]
        alerts.now_wrong({"stalled": "no block", "gap": "4 blocks"})

    assert told == ["stalled", "stalled", "gap"]
    assert [line["reason"] for line in logs if line["event"] == "alert"] == told


def test_histories_are_bounded_and_tell_when_a_fault_was_over() -> None:
    clock = Clock()
    alerts = Alerts(clock=clock, wall=clock)
    for number in range(3 * MOST_KEPT):
        alerts.now_wrong({f"endpoint {number}": "down"})
        clock.now += 1

    assert len(alerts.faults) == len(alerts.sent) == MOST_KEPT
    assert alerts.faults[-2].until == alerts.faults[-2].since + 1
    assert alerts.faults[-1].until is None
