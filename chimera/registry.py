"""The only file that names concrete adapters: built-in families and those of other packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from chimera.domain.block import Address
from chimera.ports import Adapter

ENTRY_POINTS = "chimera.protocols"
"""Group under which another package offers a family: `name = package.module:AdapterClass`."""

ADAPTERS = {
    "aave_v3": "AaveV3",
    "compound_v2": "CompoundV2",
    "compound_v3": "CompoundV3",
    "morpho_blue": "MorphoBlue",
}
BUILT_IN = {
    kind: EntryPoint(kind, f"chimera.protocols.{kind}.adapter:{name}", ENTRY_POINTS)
    for kind, name in ADAPTERS.items()
}


def families() -> dict[str, EntryPoint]:
    """
    Return every family by its kind; a built-in one cannot be replaced from outside.

    Loading one imports its adapter. Most daemons need one family of them all.
    """
    return {**{point.name: point for point in entry_points(group=ENTRY_POINTS)}, **BUILT_IN}


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
    point = BUILT_IN.get(kind) or families()[kind]  # who asks for ours need not search packages
    factory = point.load()
    adapter: Adapter[Any] = factory(name=name, address=address, from_block=from_block, **chosen)
    return adapter
