"""The only file that names concrete adapters: built-in families and those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from chimera.domain.block import Address
from chimera.ports import Adapter
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.protocols.compound_v2.adapter import CompoundV2
from chimera.protocols.compound_v3.adapter import CompoundV3
from chimera.protocols.morpho_blue.adapter import MorphoBlue

ENTRY_POINTS = "chimera.protocols"
"""Group under which another package offers a family: `name = package.module:AdapterClass`."""

Factory = Callable[..., Adapter[Any]]

BUILT_IN: dict[str, Factory] = {
    "aave_v3": AaveV3,
    "compound_v2": CompoundV2,
    "compound_v3": CompoundV3,
    "morpho_blue": MorphoBlue,
}


def families() -> dict[str, Factory]:
    """Return every family by its kind; a built-in one cannot be replaced from outside."""
    offered = {point.name: point.load() for point in entry_points(group=ENTRY_POINTS)}
    return {**offered, **BUILT_IN}


def build_adapter(
    *,
    kind: str,
    name: str,
    address: Address,
    from_block: int,
    markets: tuple[bytes, ...] | None = None,
) -> Adapter[Any]:
    """
    Build the adapter of one configured protocol.

    `markets` narrows a family of isolated markets to some of them.

    Raises:
        KeyError: No family of this kind exists; `settings` refuses that before.
    """
    chosen = {} if markets is None else {"markets": markets}
    return families()[kind](name=name, address=address, from_block=from_block, **chosen)
