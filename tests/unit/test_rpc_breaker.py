"""The circuit breaker: when it opens, for how long, and what closes it."""

from chimera.rpc.breaker import FIRST_REST, LONGEST_REST, STEADY, Breaker
from chimera.rpc.pauses import JITTER


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def breaker(clock: Clock, draw: float = 0.5) -> Breaker:
    return Breaker(clock=clock, draw=lambda: draw)


def rest_of(its: Breaker, clock: Clock) -> float:
    """Let it rest to the end; how long that took."""
    seconds = its.seconds_left
    clock.now += seconds / 2
    assert not its.is_due
    clock.now += seconds / 2 + 1e-9
    assert its.is_due
    return seconds


def test_it_goes_from_closed_to_open_to_half_open_to_closed() -> None:
    clock = Clock()
    its = breaker(clock)
    assert (its.state, its.is_due, its.seconds_left) == ("closed", False, 0.0)

    its.failed("down")
    assert (its.state, its.why) == ("open", "down")
    rest_of(its, clock)
    its.proved()
    assert its.state == "half-open"
    rest_of(its, clock)
    its.proved()

    assert (its.state, its.why) == ("closed", "")


def test_a_failure_while_half_open_opens_it_for_longer() -> None:
    clock = Clock()
    its = breaker(clock)
    its.failed("down")
    first = rest_of(its, clock)
    its.proved()
    its.failed("down again")

    assert its.state == "open"
    assert rest_of(its, clock) == 2 * first
    its.proved()
    assert str(its.state) == "half-open"  # the proof from before does not count


def test_rests_double_up_to_the_longest() -> None:
    clock = Clock()
    its = breaker(clock)
    rests = []
    for _ in range(7):
        its.failed("down")
        rests.append(round(rest_of(its, clock), 6))

    assert rests == [5.0, 10.0, 20.0, 40.0, LONGEST_REST, LONGEST_REST, LONGEST_REST]


def test_jitter_is_a_fifth_up_and_down_and_spreads_daemons_out() -> None:
    rests = []
    for step in range(101):
        its = breaker(Clock(), draw=step / 100)
        its.failed("down")
        rests.append(its.seconds_left)

    assert abs(min(rests) - FIRST_REST * (1 - JITTER)) < 1e-9
    assert abs(max(rests) - FIRST_REST * (1 + JITTER)) < 1e-9
    assert len({round(rest, 6) for rest in rests}) == 101


def test_it_rests_at_least_as_long_as_the_endpoint_asks() -> None:
    its = breaker(Clock())
    its.failed("too many requests", pause=90.0)

    assert its.seconds_left == 90.0


def test_one_that_fails_soon_after_its_return_is_left_alone_for_longer() -> None:
    clock = Clock()
    its = breaker(clock)
    its.failed("down")
    its.close()
    clock.now += STEADY / 2
    its.failed("down")
    assert its.seconds_left == 2 * FIRST_REST

    its.close()
    clock.now += STEADY
    its.failed("down")
    assert its.seconds_left == FIRST_REST
