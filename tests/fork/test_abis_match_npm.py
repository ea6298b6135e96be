"""Every entry of abis/aave_v3 is, to the flag, what Aave's own packages are compiled to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devnet.artifacts import origin

ROOT = Path(__file__).parents[2]
ABIS = ROOT / "abis" / "aave_v3"
ARTIFACTS = ROOT / "node_modules" / "@aave" / "core-v3" / "artifacts" / "contracts"

CONTRACTS = {
    "addresses_provider.json": "protocol/configuration/PoolAddressesProvider.sol",
    "asset.json": "dependencies/openzeppelin/contracts/IERC20Detailed.sol",
    "atoken.json": "protocol/tokenization/AToken.sol",
    "configurator.json": "protocol/pool/PoolConfigurator.sol",
    "debt_token.json": "protocol/tokenization/VariableDebtToken.sol",
    "oracle.json": "misc/AaveOracle.sol",
    "pool.json": "protocol/pool/Pool.sol",
    "sentinel.json": "protocol/configuration/PriceOracleSentinel.sol",
    "proxy.json": "dependencies/openzeppelin/upgradeability/BaseUpgradeabilityProxy.sol",
    "stable_debt_token.json": "protocol/tokenization/StableDebtToken.sol",
}
LATER = "later.json"  # what only versions after that package have
NEWEST = {"getIsEModeCategoryIsolated"}  # v3.7, of which there is no package


def shape(entry: dict[str, Any]) -> Any:  # noqa: ANN401  (as JSON is)
    """What decides over the encoding: kinds, names and types, and which inputs are indexed."""
    return {
        "type": entry.get("type"),
        "name": entry.get("name"),
        "inputs": [parameter(one) for one in entry.get("inputs", [])],
        "outputs": [parameter(one) for one in entry.get("outputs", [])],
        "mutability": entry.get("stateMutability"),
        "anonymous": entry.get("anonymous"),
    }


def parameter(entry: dict[str, Any]) -> Any:  # noqa: ANN401
    inner = [parameter(one) for one in entry.get("components", [])]
    return (entry["type"], entry.get("indexed"), inner)


@pytest.mark.parametrize("name", CONTRACTS)
def test_an_abi_equals_the_compiled_contract(name: str) -> None:
    contract = Path(CONTRACTS[name])
    artifact = json.loads((ARTIFACTS / contract / f"{contract.stem}.json").read_text())
    compiled = [shape(entry) for entry in artifact["abi"]]
    ours = [shape(entry) for entry in json.loads((ABIS / name).read_text())]

    assert ours
    assert [entry for entry in ours if entry not in compiled] == []


def test_what_later_versions_have_equals_the_compiled_contracts_of_v3_6() -> None:
    compiled = [
        shape(entry)
        for name in ("L2PoolInstance", "PoolConfiguratorInstance")
        for entry in origin(name).abi
    ]
    ours = [shape(entry) for entry in json.loads((ABIS / LATER).read_text())]

    assert {entry["name"] for entry in ours if entry not in compiled} == NEWEST


def test_no_abi_is_left_out() -> None:
    assert {path.name for path in ABIS.glob("*.json")} == {*CONTRACTS, LATER}
