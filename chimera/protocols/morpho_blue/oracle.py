"""
The arithmetic of MorphoChainlinkOracleV2, to explain a price; the mirror itself only asks for it.

An oracle multiplies a base vault's rate and two base feeds, and divides by those of the quote side.
What is absent counts as 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from eth_utils.address import to_checksum_address

from chimera.domain import abi
from chimera.domain.block import ZERO_ADDRESS, Address
from chimera.domain.call import Answer, Call, Inquiry, Readings
from chimera.domain.health import Step
from chimera.domain.numeric import mul_div
from chimera.protocols.morpho_blue.calls import PRICE

BASE_VAULT = bytes.fromhex("eaa2d7b4")
BASE_VAULT_CONVERSION_SAMPLE = bytes.fromhex("054f7ac0")
QUOTE_VAULT = bytes.fromhex("2e6f20a6")
QUOTE_VAULT_CONVERSION_SAMPLE = bytes.fromhex("461739d2")
BASE_FEED_1 = bytes.fromhex("f50a4718")
BASE_FEED_2 = bytes.fromhex("dc53858c")
QUOTE_FEED_1 = bytes.fromhex("56095e11")
QUOTE_FEED_2 = bytes.fromhex("acfbd39e")
SCALE_FACTOR = bytes.fromhex("ce4b5bbe")

CONVERT_TO_ASSETS = bytes.fromhex("07a2d13a")  # ERC-4626
LATEST_ROUND_DATA = bytes.fromhex("feaf968c")  # Chainlink

PRICE_DECIMALS = 36
SIGN = 1 << 255


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the fraction: what a vault and two feeds say; 1 for whatever is absent."""

    vault: int = 1
    feed_1: int = 1
    feed_2: int = 1

    @property
    def product(self) -> int:
        """All three multiplied."""
        return self.vault * self.feed_1 * self.feed_2


def price(scale_factor: int, base: Side, quote: Side) -> int:
    """Return the price: one division, rounded down. Mirrors MorphoChainlinkOracleV2.price."""
    return mul_div(scale_factor, base.product, quote.product)


def scale_factor(
    base_decimals: tuple[int, ...],
    quote_decimals: tuple[int, ...],
    base_sample: int = 1,
    quote_sample: int = 1,
) -> int:
    """
    Return the constant that an oracle is made with. Mirrors its constructor.

    Args:
        base_decimals: Of the base token (of a vault's underlying), then of the base feeds.
        quote_decimals: The same of the quote side.
        base_sample: How many shares the base vault converts, 1 without a vault.
        quote_sample: The same of the quote vault.
    """
    base_token, *base_feeds = base_decimals
    quote_token, *quote_feeds = quote_decimals
    places = PRICE_DECIMALS + quote_token + sum(quote_feeds) - base_token - sum(base_feeds)
    return int(10**places) * quote_sample // base_sample


@dataclass(frozen=True, slots=True)
class Part:
    """A vault or a feed of an oracle, and the question that it is asked."""

    name: str
    contract: Address
    question: Call

    def step(self, answer: Answer) -> Step:
        """Name the part and its answer."""
        said = _value(self, answer)
        told = "does not answer" if said is None else str(said)
        return Step(self.name, f"{told} ({to_checksum_address(self.contract)})")


def explained(oracle: Address) -> Inquiry[list[Step]]:
    """
    Take the price of an oracle apart; an empty list if it is no MorphoChainlinkOracleV2.

    The last step says whether the parts make the price that the oracle answers.
    """
    getters = {
        name: abi.plain(oracle, selector)
        for name, selector in globals().items()
        if name.startswith(("BASE_", "QUOTE_", "SCALE_"))
    }
    asked = abi.plain(oracle, PRICE)
    answers = yield (*getters.values(), asked)
    found = {name: abi.number(answers[call]) for name, call in getters.items()}
    known = {name: value for name, value in found.items() if value is not None}
    if len(known) < len(getters):
        return []
    parts = _parts(known)
    readings = (yield tuple(part.question for part in parts)) if parts else {}
    steps = [Step("scale factor", str(known["SCALE_FACTOR"]))]
    steps += [part.step(readings[part.question]) for part in parts]
    ours = _price_of(known["SCALE_FACTOR"], parts, readings)
    theirs = abi.number(answers[asked])
    made = "reverts" if ours is None else str(ours)
    agrees = "as the oracle answers" if ours == theirs else f"the oracle answers {theirs}"
    return [*steps, Step("price", f"{made} ({agrees})")]


def _parts(known: dict[str, int]) -> list[Part]:
    parts = []
    for side in ("BASE", "QUOTE"):
        vault = abi.as_address(known[f"{side}_VAULT"])
        sample = known[f"{side}_VAULT_CONVERSION_SAMPLE"]
        if vault != ZERO_ADDRESS:
            data = CONVERT_TO_ASSETS + sample.to_bytes(32, "big")
            parts.append(Part(f"{side.lower()} vault", vault, Call(vault, data)))
        for place in (1, 2):
            feed = abi.as_address(known[f"{side}_FEED_{place}"])
            if feed != ZERO_ADDRESS:
                name = f"{side.lower()} feed {place}"
                parts.append(Part(name, feed, abi.plain(feed, LATEST_ROUND_DATA)))
    return parts


def _value(part: Part, answer: Answer) -> int | None:
    """Return the vault's assets, or the feed's answer; None where the oracle reverts over it."""
    found = abi.words(answer)
    if part.name.endswith("vault"):
        return found[0] if found else None
    return found[1] if len(found) > 1 and found[1] < SIGN else None


def _price_of(scale: int, parts: list[Part], readings: Readings) -> int | None:
    values = {part.name: _value(part, readings[part.question]) for part in parts}
    said = {name: value for name, value in values.items() if value is not None}
    if len(said) < len(values):
        return None
    base, quote = (
        Side(*(said.get(f"{side} {kind}", 1) for kind in ("vault", "feed 1", "feed 2")))
        for side in ("base", "quote")
    )
    return price(scale, base, quote) if quote.product else None
