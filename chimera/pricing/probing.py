"""The conversation that tells what a price source is: each getter of each kind, asked of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.call import Answer, Call, Inquiry
from chimera.pricing.sources import Probes, Source, classified

# Feeds, as Chainlink has them
LATEST_ANSWER = bytes.fromhex("50d25bcd")
LATEST_ROUND_DATA = bytes.fromhex("feaf968c")
DESCRIPTION = bytes.fromhex("7284e416")
AGGREGATOR = bytes.fromhex("245a7bfc")

# Aave's capped adapters (CAPO), and its synchronicity adapters
ASSET_TO_USD_AGGREGATOR = bytes.fromhex("4ebdc284")
BASE_TO_USD_AGGREGATOR = bytes.fromhex("d221087c")
RATIO_PROVIDER = bytes.fromhex("dc4a4be8")
IS_CAPPED = bytes.fromhex("671528d4")
ASSET_TO_PEG = bytes.fromhex("910bb70c")
BASE_TO_PEG = bytes.fromhex("6753b8c4")
PEG_TO_BASE = bytes.fromhex("de4aedab")

# Ratio feeds, wrappers and constants
BASE = bytes.fromhex("5001f3b5")
RATIO = bytes.fromhex("71ca337d")
PRICE_FEED = bytes.fromhex("741bef1a")
ORIGINAL_FEED = bytes.fromhex("e0d236a4")
PRICE = bytes.fromhex("a035b1fe")
GHO_PRICE = bytes.fromhex("abe30b30")

# Composite feeds (Moonwell's; Compound v3's), and Compound v3's feeds that only rescale another
MULTIPLIER = bytes.fromhex("1b3ed722")
PRICE_FEED_A = bytes.fromhex("383cae1d")
PRICE_FEED_B = bytes.fromhex("14c04ff1")
UNDERLYING_PRICE_FEED = bytes.fromhex("2ac0a1a5")

# Oracles of isolated markets: price() of one token in another (MorphoChainlinkOracleV2)
BASE_FEED_1 = bytes.fromhex("f50a4718")
SCALE_FACTOR = bytes.fromhex("ce4b5bbe")

PROBES = (
    *(LATEST_ANSWER, LATEST_ROUND_DATA, DESCRIPTION, AGGREGATOR),
    *(ASSET_TO_USD_AGGREGATOR, BASE_TO_USD_AGGREGATOR, RATIO_PROVIDER, IS_CAPPED),
    *(ASSET_TO_PEG, BASE_TO_PEG, PEG_TO_BASE),
    *(BASE, RATIO, PRICE_FEED, ORIGINAL_FEED, PRICE, GHO_PRICE),
    *(MULTIPLIER, PRICE_FEED_A, PRICE_FEED_B, UNDERLYING_PRICE_FEED),
    *(BASE_FEED_1, SCALE_FACTOR),
)

COMPOSED = (BASE_TO_PEG, ASSET_TO_PEG, PEG_TO_BASE, PRICE_FEED_A, PRICE_FEED_B)
WRAPPED = (PRICE_FEED, ORIGINAL_FEED, UNDERLYING_PRICE_FEED)

WORD = 32
ROUND_WORDS, ANSWER_AT, UPDATED_AT = 5, 1, 3  # of latestRoundData
ADDRESS_BYTES = 20
LEAST = 2**64  # a number under it is no address, but a price or a flag
LONGEST = 64  # characters of a description that are shown


def probe(
    addresses: Iterable[Address], *, asking: Callable[[Address, bytes], Call] = Call
) -> Inquiry[dict[Address, Source]]:
    """
    Ask each of these contracts what it is, and the feeds beneath for their last round.

    Two rounds of calls for all of them, however many. The zero address is no source and left out.

    Args:
        addresses: Where prices come from.
        asking: What makes a call; `BoundedCall` for contracts that nobody vouches for.
    """
    asked = [address for address in dict.fromkeys(addresses) if address != ZERO_ADDRESS]
    calls = {(a, selector): asking(a, selector) for a in asked for selector in PROBES}
    answers = yield tuple(calls.values())
    told = {place: answers[call] for place, call in calls.items()}
    found = {
        address: classified(
            address, probes({selector: told[address, selector] for selector in PROBES})
        )
        for address in asked
    }
    beneath = {source.beneath for source in found.values() if source.updated is None}
    questions = {feed: asking(feed, LATEST_ROUND_DATA) for feed in sorted(filter(None, beneath))}
    rounds = yield tuple(questions.values())
    dates = {feed: rounds[call] for feed, call in questions.items()}
    return {address: _dated(source, dates) for address, source in found.items()}


def probes(told: Mapping[bytes, Answer]) -> Probes:
    """Understand what one contract answered to `PROBES`."""
    last = _round(told[LATEST_ROUND_DATA])
    answer = _signed(told[LATEST_ANSWER])
    base, multiplier = _address(told[BASE]), _address(told[MULTIPLIER])
    feeds = [_address(told[selector]) for selector in COMPOSED]
    feeds += [base, multiplier] if multiplier is not None else []
    return Probes(
        has_code=any(heard != b"" for heard in told.values()),
        answer=answer if answer is not None or last is None else last[0],
        updated=None if last is None else last[1],
        description=_text(told[DESCRIPTION]),
        aggregator=_address(told[AGGREGATOR]),
        asset_to_usd=_address(told[ASSET_TO_USD_AGGREGATOR]),
        base_to_usd=_address(told[BASE_TO_USD_AGGREGATOR]),
        ratio_provider=_address(told[RATIO_PROVIDER]),
        composed_of=tuple(feed for feed in feeds if feed is not None),
        base=base,
        ratio=_signed(told[RATIO]),
        wrapped=next((feed for s in WRAPPED if (feed := _address(told[s])) is not None), None),
        fixed=next(
            (one for g in (PRICE, GHO_PRICE) if (one := _signed(told[g])) is not None), None
        ),
        is_capped=_signed(told[IS_CAPPED]) == 1,
        scale=_signed(told[SCALE_FACTOR]),
        base_feed=_address(told[BASE_FEED_1]),
    )


def _dated(source: Source, rounds: Mapping[Address, Answer]) -> Source:
    if source.updated is not None or source.beneath is None:
        return source
    last = _round(rounds[source.beneath])
    return source if last is None else replace(source, updated=last[1])


def _signed(answer: Answer) -> int | None:
    if answer is None or len(answer) != WORD:
        return None
    return int.from_bytes(answer, "big", signed=True)


def _address(answer: Answer) -> Address | None:
    if answer is None or len(answer) != WORD or any(answer[:-ADDRESS_BYTES]):
        return None
    found = Address(answer[-ADDRESS_BYTES:])
    return None if found == ZERO_ADDRESS or int.from_bytes(found, "big") < LEAST else found


def _round(answer: Answer) -> tuple[int, int] | None:
    """Return the answer of the last round, and when it was written."""
    if answer is None or len(answer) != ROUND_WORDS * WORD:
        return None
    words = [answer[at : at + WORD] for at in range(0, len(answer), WORD)]
    updated = int.from_bytes(words[UPDATED_AT], "big")
    return (int.from_bytes(words[ANSWER_AT], "big", signed=True), updated) if updated else None


def _text(answer: Answer) -> str:
    if answer is None or len(answer) < 2 * WORD:
        return ""
    length = int.from_bytes(answer[WORD : 2 * WORD], "big")
    text = answer[2 * WORD : 2 * WORD + min(length, LONGEST)].decode("utf-8", "replace")
    return "".join(mark if mark.isprintable() else "?" for mark in text)
