"""Contracts as they come from npm or from our own sources: ABI, deployment code, links."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.abi import collapse_if_tuple
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from devnet.compiler import MODULES, Project, compiled

AAVE = MODULES / "@aave" / "core-v3" / "artifacts" / "contracts"
VIEM_CONTRACTS = MODULES / "viem" / "_cjs" / "constants" / "contracts.js"
MULTICALL3_CODE = re.compile(r"multicall3Bytecode = '(0x[0-9a-f]+)'")
CONTRACTS = Path(__file__).resolve().parent / "contracts"
OURS = Project(
    "contracts",
    CONTRACTS,
    lots=(tuple(sorted(path.name for path in CONTRACTS.glob("*.sol"))),),
    seals=tuple(sorted(CONTRACTS.glob("*.sol"))),
    evm="paris",
)
PACKAGE = "@aave-dao/aave-v3-origin/"
LOGIC = "protocol/libraries/logic/"
CORE = (  # about as long to compile as the other lot
    "instances/L2PoolInstance.sol",
    LOGIC + "BorrowLogic.sol",
    LOGIC + "ConfiguratorLogic.sol",
    LOGIC + "FlashLoanLogic.sol",
    LOGIC + "LiquidationLogic.sol",
    LOGIC + "PoolLogic.sol",
    LOGIC + "SupplyLogic.sol",
)
AROUND = (
    "helpers/AaveProtocolDataProvider.sol",
    "instances/ATokenInstance.sol",
    "instances/PoolConfiguratorInstance.sol",
    "instances/VariableDebtTokenInstance.sol",
    "misc/AaveOracle.sol",
    "misc/DefaultReserveInterestRateStrategyV2.sol",
    "protocol/configuration/ACLManager.sol",
    "protocol/configuration/PoolAddressesProvider.sol",
)
ORIGIN = Project(
    "origin",
    MODULES,
    lots=tuple(tuple(f"{PACKAGE}src/contracts/{path}" for path in lot) for lot in (CORE, AROUND)),
    seals=tuple(
        MODULES / package / "package.json"
        for package in (PACKAGE, "@openzeppelin/contracts", "@openzeppelin/contracts-upgradeable")
    ),
    evm="cancun",
    remappings=(
        "openzeppelin-contracts/contracts/=@openzeppelin/contracts/",
        "openzeppelin-contracts-upgradeable/contracts/=@openzeppelin/contracts-upgradeable/",
    ),
)


class ArtifactError(Exception):
    """A contract, or a function of one, is not there."""


def _types(parameters: Sequence[Mapping[str, Any]]) -> list[str]:
    return [collapse_if_tuple(dict(parameter)) for parameter in parameters]


@dataclass(frozen=True)
class Artifact:
    """One contract: how to call it and how to deploy it."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str
    links: dict[str, list[int]] = field(default_factory=dict)  # library -> byte offsets

    def encode(self, function: str, *arguments: object) -> bytes:
        """Return the calldata of `function`; of several, the one that takes these many."""
        signature, entry = self._function(function, len(arguments))
        return keccak(text=signature)[:4] + encode(_types(entry["inputs"]), arguments)

    def decode(self, function: str, answer: bytes) -> tuple[Any, ...]:
        """Return what `function` answered, as a tuple; addresses with their checksum."""
        types = _types(self._function(function)[1]["outputs"])
        answers = zip(types, decode(types, answer), strict=True)
        return tuple(to_checksum_address(a) if t == "address" else a for t, a in answers)

    def topic(self, event: str) -> bytes:
        """Return the first topic of `event`."""
        entry = next(e for e in self.abi if e["type"] == "event" and e["name"] == event)
        return keccak(text=f"{event}({','.join(_types(entry['inputs']))})")

    def creation(self, *arguments: object, libraries: Mapping[str, str] | None = None) -> bytes:
        """Return the data of the transaction that deploys it, libraries linked in."""
        code = bytearray.fromhex(self._linked(libraries or {}).removeprefix("0x"))
        constructors = (e["inputs"] for e in self.abi if e["type"] == "constructor")
        inputs: list[dict[str, Any]] = next(constructors, [])
        return bytes(code) + encode(_types(inputs), arguments)

    def _linked(self, libraries: Mapping[str, str]) -> str:
        code = self.bytecode
        for library, starts in self.links.items():
            target = libraries[library].removeprefix("0x").lower()
            for start in starts:
                place = 2 + 2 * start
                code = code[:place] + target + code[place + 40 :]
        return code

    def _function(self, function: str, takes: int | None = None) -> tuple[str, dict[str, Any]]:
        try:
            return self._functions[function, takes]
        except KeyError:
            raise ArtifactError(f"{self.name} has no function {function}") from None

    @cached_property
    def _functions(self) -> dict[tuple[str, int | None], tuple[str, dict[str, Any]]]:
        found: dict[tuple[str, int | None], tuple[str, dict[str, Any]]] = {}
        for entry in self.abi:
            if entry["type"] == "function":
                signature = f"{entry['name']}({','.join(_types(entry['inputs']))})"
                for takes in (None, len(entry["inputs"])):
                    found.setdefault((entry["name"], takes), (signature, entry))
        return found


@cache
def aave(name: str) -> Artifact:
    """
    Return a contract of Aave v3.0.2 as its authors compiled it.

    Raises:
        ArtifactError: The npm parts are not installed.
    """
    found = sorted(AAVE.rglob(f"{name}.json"))
    if not found:
        raise ArtifactError(f"no {name} under {AAVE}: run `npm ci` in {MODULES.parent}")
    document = json.loads(found[0].read_text())
    links = {
        library: [place["start"] for place in places]
        for libraries in document["linkReferences"].values()
        for library, places in libraries.items()
    }
    return Artifact(name, document["abi"], document["bytecode"], links)


@cache
def ours(name: str) -> Artifact:
    """
    Return one of our own contracts.

    Raises:
        CompileError: It does not compile; the message has what the compiler said.
    """
    return _from(OURS, name)


@cache
def origin(name: str) -> Artifact:
    """
    Return a contract of Aave v3.6.0, compiled from its authors' sources.

    Raises:
        CompileError: The npm parts are not installed.
    """
    return _from(ORIGIN, name)


@cache
def multicall3_creation() -> bytes:
    """Return the code that deploys Multicall3."""
    found = MULTICALL3_CODE.search(VIEM_CONTRACTS.read_text())
    if found is None:
        raise ArtifactError(f"no Multicall3 in {VIEM_CONTRACTS}")
    return bytes.fromhex(found[1][2:])


def _from(project: Project, name: str) -> Artifact:
    contracts = compiled(project)
    if name not in contracts:
        raise ArtifactError(f"{project.name} has no contract {name}")
    document = contracts[name]
    return Artifact(name, document["abi"], document["bytecode"], document["links"])
