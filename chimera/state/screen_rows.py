"""What the rows of the screen are: one for each column of the adapter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chimera.domain.market import Column

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Slots = npt.NDArray[np.intp]
"""Places of accounts, or of rows."""


class Run(NamedTuple):
    """Neighbouring rows of one kind: from the first up to the end, which is none of them."""

    first: int
    end: int
    has_mode: bool
    is_debt: bool


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """
    The rows as they are numbered now; another numbering is another object.

    Attributes:
        columns: By row.
        numbers: The row of each column.
        debts: Which rows are debt; the others are collateral.
        modes: Which rows are of accounts that have a mode.
        runs: All rows, by neighbours of one kind.
    """

    columns: tuple[Column, ...]
    numbers: Mapping[Column, int]
    debts: Bools
    modes: Bools
    runs: tuple[Run, ...]


def kind_of(column: Column) -> tuple[bool, bool]:
    """Tell of a column whether its accounts have a mode, and whether it is debt."""
    _, is_debt, mode = column
    return bool(mode), is_debt


def numbered(columns: Iterable[Column]) -> Rows:
    """Number columns in this order; the fewer runs that makes, the fewer products is a sum."""
    ordered = tuple(columns)
    runs, first = [], 0
    for kind, members in groupby(ordered, key=kind_of):
        end = first + len(list(members))
        runs.append(Run(first, end, *kind))
        first = end
    return Rows(
        columns=ordered,
        numbers={column: row for row, column in enumerate(ordered)},
        debts=np.fromiter((is_debt for _, is_debt, _ in ordered), np.bool_, len(ordered)),
        modes=np.fromiter((mode != 0 for _, _, mode in ordered), np.bool_, len(ordered)),
        runs=tuple(runs),
    )
