"""
Search for inputs that break what stands at the walls, for as long as there is time.

CHIMERA_FUZZ_SECONDS is the time of all chosen targets together, CHIMERA_FUZZ_SEED where the search
begins: the same seed tries the same inputs, in the same order, as far as the time allows. A search
goes through rounds of one size, each from a seed of its own: the number that a find prints begins
with the round that found it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.errors import StopTest

T = TypeVar("T")
Clock = Callable[[], float]

SECONDS = float(os.environ.get("CHIMERA_FUZZ_SECONDS", "20"))
SEED = int(os.environ.get("CHIMERA_FUZZ_SEED", "0"))
ROUND = 300  # examples; what hypothesis draws depends on it

# Where integers of contracts, of JSON, of Python and of SQL have their edges.
EDGES: tuple[int, ...] = (
    0,
    1,
    2,
    31,
    32,
    255,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64,
    2**127,
    2**128 - 1,
)
EDGES += (2**160 - 1, 2**255 - 1, 2**255, 2**256 - 2, 2**256 - 1)
WORD = 32


class Draw(Protocol):
    """Draws one value of a strategy."""

    def __call__(self, strategy: st.SearchStrategy[T], /) -> T: ...


class TimeOver(KeyboardInterrupt):
    """Ends a round as Ctrl+C would: whatever else ends it is a find to hypothesis."""


class Fuzz:
    """Calls a property with drawn inputs until `seconds` are over, and tells how often."""

    def __init__(
        self,
        seconds: float,
        told: Callable[[int], None],
        *,
        seed: int = SEED,
        clock: Clock = time.monotonic,
    ) -> None:
        self._seconds, self._told = seconds, told
        self._seed, self._clock = seed, clock
        self._tried = 0

    def __call__(self, hold: Callable[[Draw], None], *, shrink: bool = True) -> None:
        """Search. What fails is printed with the seed, and with hypothesis' way to repeat it."""
        end, number = self._clock() + self._seconds, self._seed
        try:
            while True:
                self._round(hold, number, end, shrink=shrink)
                number += 1
        except TimeOver:
            pass
        except BaseException:
            print(f"CHIMERA_FUZZ_SEED={number} finds this first")  # noqa: T201  (pytest shows it)
            raise
        finally:
            self._told(self._tried)

    def _round(
        self, hold: Callable[[Draw], None], number: int, end: float, *, shrink: bool
    ) -> None:
        """Try `ROUND` examples, fewer if the time is over; a find is shrunk however late it is."""
        found = False

        def example(data: st.DataObject) -> None:
            nonlocal found
            if self._tried and not found and self._clock() >= end:
                raise TimeOver
            self._tried += 1
            try:
                hold(data.draw)
            except StopTest:  # hypothesis has drawn enough
                raise
            except BaseException:
                found = True
                raise

        phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
        limits = hypothesis.settings(
            max_examples=ROUND,
            database=None,
            deadline=None,
            phases=phases,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )
        hypothesis.seed(number)(limits(hypothesis.given(st.data())(example)))()
        if self._clock() >= end:  # hypothesis ends a round early where there is little to draw
            raise TimeOver


# --- bytes ---------------------------------------------------------------------------------------


def rarely(draw: Draw, *, one_in: int) -> bool:
    return draw(st.integers(0, one_in - 1)) == one_in - 1


def an_integer(draw: Draw) -> int:
    return draw(st.one_of(st.sampled_from(EDGES), st.integers(0, 2**256 - 1), st.integers(0, 99)))


def a_word(draw: Draw) -> bytes:
    return an_integer(draw).to_bytes(WORD, "big")


def spoiled(draw: Draw, seed: bytes) -> bytes:
    """Return the bytes with one to three faults in them."""
    for _ in range(draw(st.integers(1, 3))):
        seed = _spoiled_once(draw, seed)
    return seed


def _spoiled_once(draw: Draw, seed: bytes) -> bytes:
    place = draw(st.integers(0, max(0, len(seed) - 1)))
    word = place - place % WORD
    before, after = seed[:place], seed[place + 1 :]
    kinds = {
        "bit": lambda: before + _flipped(draw, seed[place : place + 1]) + after,
        "byte": lambda: before + draw(st.binary(min_size=1, max_size=1)) + after,
        "cut": lambda: before,
        "longer": lambda: seed + draw(st.binary(min_size=1, max_size=3 * WORD)),
        "word": lambda: seed[:word] + a_word(draw) + seed[word + WORD :],
        "words": lambda: b"".join(a_word(draw) for _ in range(draw(st.integers(0, 8)))),
        "twice": lambda: before + seed[word:],
        "gone": lambda: seed[:word] + seed[word + WORD :],
        "new": lambda: draw(st.binary(max_size=4 * WORD)),
        "last": lambda: seed[: max(0, len(seed) - WORD)] + a_word(draw),
    }
    return kinds[draw(st.sampled_from(sorted(kinds)))]()


def _flipped(draw: Draw, byte: bytes) -> bytes:
    return bytes(value ^ 1 << draw(st.integers(0, 7)) for value in byte)


# --- JSON ----------------------------------------------------------------------------------------

DEEP, LONG, ENDLESS = 3_000, 5_000, 200_000
TEXTS: tuple[str, ...] = (
    "",
    "0x",
    "0x0",
    "-1",
    "1e9",
    "NaN",
    "0xzz",
    "0x" + "f" * LONG,
    "9" * LONG,
    "\0",
    "\ud800",
)
TEXTS += ("0x" + "ff" * 20, "0x" + "00" * 32, "{}", "%s{0}", "\u202e", "open", "0X1f", "0x-1")
TOKENS = {  # written as text, then replaced: no encoder of ours would write them
    '"@deep@"': "[" * DEEP + "]" * DEEP,
    '"@deeper@"': '{"a":' * ENDLESS + "1" + "}" * ENDLESS,
    '"@long@"': "9" * LONG,
    '"@nan@"': "NaN",
    '"@big@"': "1e400",
    '"@cut@"': '"\\ud8',
}


def odd_value(draw: Draw) -> Any:  # noqa: ANN401  (any JSON)
    return draw(
        st.one_of(
            st.none(),
            st.booleans(),
            st.sampled_from(EDGES),
            st.integers(),
            st.floats(allow_nan=False, allow_infinity=False),
            st.sampled_from(TEXTS),
            st.text(max_size=20),
            st.sampled_from([[], {}, [[]], [None], {"": {}}, [0] * 99, {"a": 1}]),
            st.sampled_from([token.strip('"') for token in TOKENS]),
        )
    )


def spoiled_document(draw: Draw, document: Any) -> Any:  # noqa: ANN401  (any JSON)
    """Return a document with one value, name or entry somewhere in it spoiled."""
    if not document or not isinstance(document, dict | list | tuple) or rarely(draw, one_in=6):
        return odd_value(draw)
    what = draw(st.sampled_from(["within"] * 6 + ["gone", "twice", "other name"]))
    if isinstance(document, dict):
        return _spoiled_object(draw, document, what)
    place = draw(st.integers(0, len(document) - 1))
    middle = {
        "within": [spoiled_document(draw, document[place])] if what == "within" else [],
        "gone": [],
    }.get(what, [document[place]] * 2)
    return [*document[:place], *middle, *document[place + 1 :]]


def _spoiled_object(draw: Draw, document: dict[str, Any], what: str) -> dict[str, Any]:
    name = draw(st.sampled_from(list(document)))
    rest = {key: value for key, value in document.items() if key != name}
    match what:
        case "within":
            return {**document, name: spoiled_document(draw, document[name])}
        case "gone":
            return rest
        case "twice":
            return {**document, str(odd_value(draw)): document[name]}
        case _:
            return {**rest, str(odd_value(draw)): document[name]}


def spoiled_json(draw: Draw, document: object) -> bytes:
    """Return the JSON of a document with one or two faults, of its values or of its bytes."""
    if rarely(draw, one_in=5):
        return spoiled(draw, json.dumps(document).encode())
    for _ in range(draw(st.integers(1, 2))):
        document = spoiled_document(draw, document)
    text = json.dumps(document, separators=(",", ":"))
    for token, value in TOKENS.items():
        text = text.replace(token, value)
    return text.encode()
