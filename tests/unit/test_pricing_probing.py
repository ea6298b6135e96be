"""Each kind of price source, by what contracts of that kind answer."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from eth_abi.abi import encode

from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.call import Answer, BoundedCall, Call, Inquiry
from chimera.pricing import probing
from chimera.pricing.probing import probe
from chimera.pricing.sources import Kind, Source

SOURCE, BASE, OTHER = (Address(bytes([n]) * 20) for n in (1, 2, 3))
PRICE = 2500 * 10**8

Answers = Mapping[tuple[Address, bytes], Answer]


def word(value: int) -> bytes:
    return value.to_bytes(32, "big", signed=value < 0)


def pointer(address: Address) -> bytes:
    return address.rjust(32, b"\0")


def last_round(answer: int, updated: int) -> bytes:
    return encode(["uint80", "int256", "uint256", "uint256", "uint80"], [9, answer, 1, updated, 9])


def told(answers: Answers, *, without_code: bool = False) -> Source:
    """Drive the conversation against a chain where everything else reverts."""
    silence = b"" if without_code else None
    inquiry: Inquiry[dict[Address, Source]] = probe([SOURCE, ZERO_ADDRESS, SOURCE])
    try:
        calls = next(inquiry)
        while True:
            known = {call: answers.get((call.to, call.data), silence) for call in calls}
            calls = inquiry.send(known)
    except StopIteration as done:
        found: Source
        [(address, found)] = done.value.items()
        assert address == SOURCE
        return found


FEED: Answers = {
    (SOURCE, probing.LATEST_ANSWER): word(PRICE),
    (SOURCE, probing.LATEST_ROUND_DATA): last_round(PRICE, 1700),
    (SOURCE, probing.AGGREGATOR): pointer(OTHER),
    (SOURCE, probing.DESCRIPTION): encode(["string"], ["ETH / USD"]),
}
ANSWER: Answers = {(SOURCE, probing.LATEST_ANSWER): word(PRICE)}
BENEATH: Answers = {(BASE, probing.LATEST_ROUND_DATA): last_round(PRICE, 1600)}


def test_a_proxy_before_an_aggregator_is_a_plain_feed() -> None:
    source = told(FEED)

    assert source == Source(SOURCE, Kind.FEED, PRICE, 1700, "ETH / USD")
    assert source.is_alive


def test_an_aggregator_itself_is_a_plain_feed() -> None:
    answers = {(SOURCE, probing.LATEST_ROUND_DATA): last_round(PRICE, 1700)}

    assert told(answers) == Source(SOURCE, Kind.FEED, PRICE, 1700)


@pytest.mark.parametrize(
    ("kind", "getters"),
    [
        (Kind.CAPPED_STABLE, {probing.ASSET_TO_USD_AGGREGATOR: pointer(BASE)}),
        (
            Kind.CAPPED_RATIO,
            {
                probing.BASE_TO_USD_AGGREGATOR: pointer(BASE),
                probing.RATIO_PROVIDER: pointer(OTHER),
            },
        ),
        (
            Kind.COMPOSITE,
            {probing.ASSET_TO_PEG: pointer(BASE), probing.PEG_TO_BASE: pointer(OTHER)},
        ),
        (
            Kind.COMPOSITE,
            {probing.BASE_TO_PEG: pointer(BASE), probing.ASSET_TO_PEG: pointer(OTHER)},
        ),
        (Kind.RATIO, {probing.BASE: pointer(BASE), probing.RATIO: word(118 * 10**16)}),
        (Kind.WRAPPED, {probing.PRICE_FEED: pointer(BASE)}),
        (Kind.WRAPPED, {probing.ORIGINAL_FEED: pointer(BASE)}),
        (Kind.WRAPPED, {probing.UNDERLYING_PRICE_FEED: pointer(BASE)}),
        (
            Kind.COMPOSITE,
            {probing.PRICE_FEED_A: pointer(BASE), probing.PRICE_FEED_B: pointer(OTHER)},
        ),
        (Kind.COMPOSITE, {probing.BASE: pointer(BASE), probing.MULTIPLIER: pointer(OTHER)}),
    ],
)
def test_what_rests_on_another_feed_is_as_old_as_that(
    kind: Kind, getters: Mapping[bytes, bytes]
) -> None:
    own = {(SOURCE, getter): answer for getter, answer in getters.items()}

    source = told({**ANSWER, **own, **BENEATH})

    assert source == Source(SOURCE, kind, PRICE, 1600, beneath=BASE)


def test_a_wrapper_with_rounds_of_its_own_keeps_them() -> None:
    source = told({**FEED, (SOURCE, probing.PRICE_FEED): pointer(BASE), **BENEATH})

    assert (source.kind, source.updated) == (Kind.WRAPPED, 1700)


def test_a_feed_beneath_without_rounds_tells_no_age() -> None:
    source = told({**ANSWER, (SOURCE, probing.ASSET_TO_USD_AGGREGATOR): pointer(BASE)})

    assert (source.kind, source.updated) == (Kind.CAPPED_STABLE, None)


@pytest.mark.parametrize(("flag", "capped"), [(0, False), (1, True)])
def test_a_cap_that_holds_is_told(flag: int, capped: bool) -> None:  # noqa: FBT001  (parametrized)
    own = {
        (SOURCE, probing.ASSET_TO_USD_AGGREGATOR): pointer(BASE),
        (SOURCE, probing.IS_CAPPED): word(flag),
    }

    assert told({**ANSWER, **own}).is_capped is capped


@pytest.mark.parametrize("getter", [probing.PRICE, probing.GHO_PRICE])
def test_a_constant_is_fixed(getter: bytes) -> None:
    assert told({**ANSWER, (SOURCE, getter): word(PRICE)}).kind is Kind.FIXED


@pytest.mark.parametrize(
    "own",
    [
        {},
        {probing.PRICE: word(PRICE - 1)},  # a getter of that name that means something else
        {probing.BASE_TO_USD_AGGREGATOR: pointer(BASE)},  # without a ratio
        {probing.PEG_TO_BASE: pointer(BASE)},  # without the other feed
        {probing.BASE: pointer(BASE)},
        {probing.PRICE_FEED_A: pointer(BASE)},  # without the other feed
        {probing.MULTIPLIER: pointer(BASE)},  # of nothing
        {probing.SCALE_FACTOR: word(1)},  # without a price of its own
        {probing.AGGREGATOR: b"\xff" * 32},  # no address
        {probing.AGGREGATOR: word(1)},  # a flag
        {probing.AGGREGATOR: word(0)},
        {probing.LATEST_ROUND_DATA: last_round(PRICE, 0)},  # a round that never was
        {probing.LATEST_ROUND_DATA: word(PRICE)},
    ],
)
def test_what_fits_no_kind_is_unknown_but_alive(own: Mapping[bytes, bytes]) -> None:
    source = told({**ANSWER, **{(SOURCE, getter): answer for getter, answer in own.items()}})

    assert source.kind is Kind.UNKNOWN
    assert source.is_alive


def test_the_oracle_of_an_isolated_market_answers_by_price_and_rests_on_its_first_feed() -> None:
    answers = {
        (SOURCE, probing.PRICE): word(PRICE),
        (SOURCE, probing.SCALE_FACTOR): word(10**24),
        (SOURCE, probing.BASE_FEED_1): pointer(BASE),
        **BENEATH,
    }

    assert told(answers) == Source(SOURCE, Kind.MARKET_ORACLE, PRICE, 1600, beneath=BASE)


def test_another_oracle_that_answers_by_price_is_unknown_but_alive() -> None:
    source = told({(SOURCE, probing.PRICE): word(PRICE)})

    assert (source.kind, source.answer, source.is_alive) == (Kind.UNKNOWN, PRICE, True)


def test_an_address_without_code_is_no_source() -> None:
    source = told({}, without_code=True)

    assert (source.kind, source.is_alive) == (Kind.ABSENT, False)


@pytest.mark.parametrize("answer", [None, word(0), word(-1), b"", b"\x01"])
def test_a_source_that_answers_no_price_is_dead(answer: Answer) -> None:
    assert not told({(SOURCE, probing.LATEST_ANSWER): answer}).is_alive


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (encode(["string"], ["a\x1b[31m"]), "a?[31m"),
        (encode(["string"], ["x" * 100]), "x" * 64),
        (word(32) + word(2**255), ""),
        (b"bytes32".ljust(32, b"\0"), ""),
        (encode(["bytes"], [b"\xff"]), "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_description_is_shown_without_harm(text: bytes, shown: str) -> None:
    assert told({**FEED, (SOURCE, probing.DESCRIPTION): text}).description == shown


def test_all_sources_are_asked_in_one_round() -> None:
    asked = next(probe([SOURCE, BASE, OTHER]))

    assert len(asked) == len(set(asked)) == 3 * len(probing.PROBES)
    assert Call(BASE, probing.AGGREGATOR) in asked


def test_contracts_that_nobody_vouches_for_are_asked_with_bounds_feeds_beneath_included() -> None:
    inquiry = probe([SOURCE], asking=BoundedCall)

    first = next(inquiry)
    beneath: dict[Call, bytes] = {BoundedCall(SOURCE, probing.PRICE_FEED): pointer(BASE)}
    second = inquiry.send({call: beneath.get(call) for call in first})

    assert {type(call) for call in (*first, *second)} == {BoundedCall}
    assert [(call.to, call.data) for call in second] == [(BASE, probing.LATEST_ROUND_DATA)]
