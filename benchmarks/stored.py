"""Results as JSON: all of the newest run, and per measurement the one that others are held to."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measuring import Row

RESULTS = Path(__file__).resolve().parent / "results"
LATEST = "latest"  # not kept in the repository

Facts = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Stored:
    """A measurement that later ones are compared with, and the machine it was made on."""

    machine: Facts
    rows: list[Row]


def write_latest(
    facts: Facts,
    found: Mapping[str, list[Row]],
    seconds: Mapping[str, float],
    folder: Path = RESULTS,
) -> Path:
    """Write a whole run; return the file."""
    measurements = {name: [finite(row) for row in rows] for name, rows in found.items()}
    return _write(
        folder / f"{LATEST}.json", facts, seconds=dict(seconds), measurements=measurements
    )


def store(name: str, facts: Facts, rows: list[Row], folder: Path = RESULTS) -> Path:
    """Make this what `name` is compared with from now on; return the file."""
    return _write(folder / f"{name}.json", facts, rows=[finite(row) for row in rows])


def stored(name: str, folder: Path = RESULTS) -> Stored | None:
    """Return what `name` is to be compared with; None where nothing was stored."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    return Stored(document["machine"], [Row.from_document(row) for row in document["rows"]])


def latest(folder: Path = RESULTS) -> tuple[Facts, dict[str, list[Row]]]:
    """Return machine and rows of the newest run."""
    document = json.loads((folder / f"{LATEST}.json").read_text())
    measurements = document["measurements"].items()
    return document["machine"], {
        name: [Row.from_document(row) for row in rows] for name, rows in measurements
    }


def finite(row: Row) -> dict[str, object]:
    """Return a row's document; a figure beyond all bounds is null, as JSON has no other way."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.document().items()
    }


def _write(path: Path, facts: Facts, **content: object) -> Path:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    document = {"measured_at": now, "machine": dict(facts), **content}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
    return path
