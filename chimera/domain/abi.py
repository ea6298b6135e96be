"""How contracts write calls, answers and logs: words of 32 bytes, the same for every family."""

from __future__ import annotations

from chimera.domain.block import Address, Log
from chimera.domain.call import Answer, Call
from chimera.errors import Rebuild

WORD = 32  # bytes

# --- calls ---------------------------------------------------------------------------------------


def plain(to: Address, selector: bytes) -> Call:
    """Call a function without arguments."""
    return Call(to, selector)


def of_address(to: Address, selector: bytes, *arguments: Address) -> Call:
    """Call a function of addresses."""
    data = selector
    for argument in arguments:  # hundreds of thousands are written at a start
        data += argument.rjust(WORD, b"\0")
    return Call(to, data)


def word_of(address: Address) -> bytes:
    """Return an address as an argument of a call."""
    return address.rjust(WORD, b"\0")


def of_number(to: Address, selector: bytes, argument: int) -> Call:
    """Call a function of one unsigned integer."""
    return Call(to, selector + argument.to_bytes(WORD, "big"))


# --- answers -------------------------------------------------------------------------------------


def words(answer: Answer) -> list[int]:
    """Return the answer as words; an empty list for a revert or no code."""
    if answer is None:
        return []
    whole = len(answer) - len(answer) % WORD
    return [int.from_bytes(answer[at : at + WORD], "big") for at in range(0, whole, WORD)]


def number(answer: Answer) -> int | None:
    """Return the first word; None for a revert or an address without code."""
    return int.from_bytes(answer[:WORD], "big") if answer and len(answer) >= WORD else None


def as_address(word: int) -> Address:
    """Return the address in a word."""
    return Address((word & (2**160 - 1)).to_bytes(20, "big"))


def addresses(answer: Answer) -> list[Address]:
    """Return a dynamic array of addresses."""
    found = words(answer)
    return [as_address(word) for word in found[2 : 2 + found[1]]] if len(found) > 1 else []


def text(answer: Answer) -> str:
    """Return a string, or a bytes32 as old tokens have it; "" for what people cannot read."""
    raw = answer or b""
    if len(raw) > WORD:
        length = int.from_bytes(raw[WORD : 2 * WORD], "big")
        raw = raw[2 * WORD : 2 * WORD + length]
    decoded = raw.rstrip(b"\0").decode("utf-8", "ignore")
    return decoded if decoded.isprintable() else ""


def symbol(answer: Answer, token: Address) -> str:
    """Return a token's symbol; a short address where it tells none."""
    return text(answer) or f"0x{token[:4].hex()}"


# --- logs ----------------------------------------------------------------------------------------


def address_of(word: bytes) -> Address:
    """Return the address in a topic or data word."""
    found: Address = word[12:WORD]  # type: ignore[assignment]  # a call less, of each log
    return found


def address_at(data: bytes, place: int) -> Address:
    """Return the address in the data word at `place`."""
    return Address(data[WORD * place + 12 : WORD * place + WORD])


def place(number: int) -> slice:
    """Return where the word of this number stands in data."""
    return slice(number * WORD, (number + 1) * WORD)


def uint_at(data: bytes, place: int) -> int:
    """Return the unsigned integer in the data word at `place`."""
    return int.from_bytes(data[WORD * place : WORD * place + WORD], "big")


def check_size(log: Log, topics: int, words_of_data: int) -> None:
    """
    Refuse a log that has other topics, or less data, than its event.

    Raises:
        Rebuild: It does not decode, so what it says has to be read from the contracts.
    """
    if len(log.topics) != topics or len(log.data) < words_of_data * WORD:
        raise undecoded(
            log,
            f"{len(log.topics)} topics and {len(log.data)} bytes instead of "
            f"{topics} and {words_of_data * WORD}",
        )


def undecoded(log: Log, why: str) -> Rebuild:
    """Return the error that a log is raised as which does not decode."""
    place = f"log {log.log_index} of block {log.block_number} from 0x{log.address.hex()}"
    return Rebuild(f"{place} does not decode: {why}")
