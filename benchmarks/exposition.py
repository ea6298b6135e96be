"""What a Prometheus endpoint says, as numbers that can be subtracted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts up to each upper edge (they include the smaller ones), and the sum of all values."""

    edges: Mapping[float, float]
    total: float

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(self.edges.get(math.inf, 0))

    @property
    def mean(self) -> float:
        """Their mean; not a number without any."""
        return self.total / self.count if self.count else math.nan


def bound(histogram: Histogram, part: float) -> float:
    """
    Return the edge that at least `part` of all values do not exceed; not a number without any.

    Infinite when they are beyond the last edge.
    """
    wanted = part * histogram.count
    if not histogram.count:
        return math.nan
    return min(edge for edge, count in histogram.edges.items() if count >= wanted)


@dataclass(frozen=True, slots=True)
class Exposition:
    """Every sample of an endpoint by name and labels."""

    samples: Mapping[tuple[str, Labels], float]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text format."""
        return cls(
            {
                (sample.name, tuple(sorted(sample.labels.items()))): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )

    def since(self, earlier: Exposition) -> Exposition:
        """Return by how much every sample has grown."""
        return Exposition(
            {key: value - earlier.samples.get(key, 0) for key, value in self.samples.items()}
        )

    def value(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        return sum(value for (found, _), value in self.samples.items() if found == name)

    def by_labels(self, name: str, labels: Sequence[str]) -> dict[tuple[str, ...], float]:
        """Return the sums of a metric by some of its labels."""
        sums: dict[tuple[str, ...], float] = {}
        for (found, pairs), value in self.samples.items():
            if found == name:
                key = tuple(dict(pairs).get(label, "") for label in labels)
                sums[key] = sums.get(key, 0) + value
        return sums

    def histogram(self, name: str) -> Histogram:
        """Return a histogram without labels of its own."""
        buckets = self.by_labels(f"{name}_bucket", ("le",))
        edges = {float(edge): count for (edge,), count in buckets.items()}
        return Histogram(edges, self.value(f"{name}_sum"))
