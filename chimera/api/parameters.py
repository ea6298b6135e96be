"""From the text of a request to exact values, or a sentence about what was expected."""

from __future__ import annotations

import re
from typing import Annotated

from eth_utils.address import is_checksum_address
from pydantic import BeforeValidator, WithJsonSchema

from chimera.domain.block import Address
from chimera.domain.numeric import WAD

ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
DECIMAL = re.compile(r"([0-9]{1,60})(?:\.([0-9]{1,60}))?")
WAD_PLACES = 18


def address_of(text: str) -> Address:
    """
    Read an address in any case; mixed case is a checksum and has to be right.

    Raises:
        ValueError: It is not an address.
    """
    if ADDRESS.fullmatch(text) is None:
        raise ValueError(f"expected an address (0x and 40 hex digits), found {text!r}")
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and not is_checksum_address(text):
        raise ValueError(f"the EIP-55 checksum of {text} is wrong; mistyped?")
    return Address(bytes.fromhex(digits))


def wad_of(text: str) -> int:
    """
    Read a decimal string of 0 or more as WAD; places past the 18th are cut.

    Cutting is exact for an upper bound: no health factor has more than 18 places.

    Raises:
        ValueError: It is not a plain decimal.
    """
    match = DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a decimal of 0 or more, such as 1.05, found {text!r}")
    whole, fraction = match.group(1), match.group(2) or ""
    return int(whole) * WAD + int(fraction[:WAD_PLACES].ljust(WAD_PLACES, "0"))


def _cursor_of(text: str) -> str | None:
    return text or None  # `cursor=` is how a loop asks for its first page


AddressText = Annotated[
    Address,
    BeforeValidator(address_of),
    WithJsonSchema({"type": "string", "pattern": f"^{ADDRESS.pattern}$"}),
]
WadText = Annotated[
    int,
    BeforeValidator(wad_of),
    WithJsonSchema({"type": "string", "pattern": f"^{DECIMAL.pattern}$"}),
]
CursorText = Annotated[str | None, BeforeValidator(_cursor_of)]
