"""What `chimera check` has found, one fact a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class CheckRow:
    """
    One fact that was looked up, and whether it is as it should be.

    Attributes:
        subject: What was looked at.
        fact: What was found; where it fails, also what to do.
        source: Of a price: where it comes from, how, and what it is; {} for other facts.
    """

    subject: str
    fact: str
    ok: bool
    source: Mapping[str, Any] = field(default_factory=dict)
