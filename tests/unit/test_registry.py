"""Which families exist: our own, and those that other packages offer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chimera.domain.block import Address
from chimera.errors import Refuse
from chimera.protocols.aave_v3.adapter import AaveV3
from chimera.registry import BUILT_IN, ENTRY_POINTS, build_adapter, families
from chimera.settings import load, shipped_config
from tests.settings_files import BASE

ADAPTER = """\
class Mirror:
    kind = "mirrorlend"

    def __init__(self, *, name, address, from_block, markets=None):
        self.name, self.address, self.from_block = name, address, from_block
        self.markets = markets
"""
ENTRY = Address(b"\x11" * 20)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another package, installed: a module, and what its metadata offers."""
    metadata = tmp_path / "mirrorlend_chimera-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mirrorlend\nVersion: 1.0\n")
    (tmp_path / "mirrorlend_chimera.py").write_text(ADAPTER)
    offered = "mirrorlend_chimera:Mirror"
    (metadata / "entry_points.txt").write_text(
        f"[{ENTRY_POINTS}]\nmirrorlend = {offered}\naave_v3 = {offered}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mirrorlend_chimera", None)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "chimera.toml"
    path.write_text(
        BASE.replace('name = "aave"', 'name = "mirror"').replace(
            'kind = "aave_v3"', 'kind = "mirrorlend"'
        )
    )
    return path


@pytest.mark.usefixtures("package")
def test_a_family_of_another_package_is_found_and_can_be_configured(config: Path) -> None:
    settings = load(config, kinds=families().keys())

    [entry] = settings.protocols
    adapter = build_adapter(
        kind=entry.kind,
        name=entry.name,
        address=entry.address_bytes,
        from_block=entry.from_block,
        markets=entry.market_ids,
    )
    assert type(adapter).__name__ == "Mirror"
    assert (adapter.kind, adapter.name) == ("mirrorlend", "mirror")
    assert adapter.address == entry.address_bytes


def test_without_that_package_its_kind_is_refused(config: Path) -> None:
    assert "mirrorlend" not in families()
    with pytest.raises(Refuse, match=r"protocols\[0\].kind: expected one of aave_v3"):
        load(config, kinds=families().keys())


@pytest.mark.usefixtures("package")
def test_nobody_replaces_a_family_of_ours() -> None:
    assert families()["aave_v3"].load() is AaveV3


def test_chosen_markets_reach_the_family_and_are_left_out_where_none_are_chosen(
    package: Path,
) -> None:
    assert package.is_dir()
    chosen = {"kind": "mirrorlend", "name": "one", "address": ENTRY, "from_block": 7}

    assert build_adapter(**chosen, markets=(b"\x01" * 32,)).markets == (b"\x01" * 32,)  # type: ignore[arg-type, attr-defined]
    assert build_adapter(**chosen).markets is None  # type: ignore[arg-type, attr-defined]


@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_family_is_built_under_its_own_kind(kind: str) -> None:
    adapter = build_adapter(kind=kind, name="one", address=ENTRY, from_block=7)

    assert (adapter.kind, adapter.name) == (kind, "one")
    assert (adapter.address, adapter.from_block) == (ENTRY, 7)


IMPORTED = """
import sys
from chimera import app, registry

registry.build_adapter(kind="morpho_blue", name="one", address=bytes(20), from_block=7)
print({name.split(".")[2] for name in sys.modules if name.startswith("chimera.protocols.")})
"""


def test_a_family_that_nobody_follows_is_not_imported() -> None:
    told = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, check=True)

    assert told.stdout == b"{'morpho_blue'}\n"


def test_the_shipped_configuration_of_base_has_every_family_and_each_can_be_built() -> None:
    entries = load(shipped_config() / "base.toml", kinds=BUILT_IN.keys()).protocols
    built = [
        build_adapter(
            kind=entry.kind,
            name=entry.name,
            address=entry.address_bytes,
            from_block=entry.from_block,
            markets=entry.market_ids,
        )
        for entry in entries
    ]

    assert {adapter.kind for adapter in built} == BUILT_IN.keys()
    assert len({adapter.address for adapter in built}) == len(built) == 9
    assert all(entry.from_block > 0 for entry in entries)
