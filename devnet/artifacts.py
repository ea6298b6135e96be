"""Contracts as they come from npm or from our own sources: ABI, deployment code, links."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.abi import collapse_if_tuple
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

HERE = Path(__file__).resolve().parent
MODULES = HERE.parent / "node_modules"
CACHE = HERE.parent / ".devnet-cache"
AAVE = MODULES / "@aave" / "core-v3" / "artifacts" / "contracts"
VIEM_CONTRACTS = MODULES / "viem" / "_cjs" / "constants" / "contracts.js"
MULTICALL3_CODE = re.compile(r"multicall3Bytecode = '(0x[0-9a-f]+)'")


class ArtifactError(Exception):
    """A contract is not there: npm parts are missing, or a source does not compile."""


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
        raise ArtifactError(f"no {name} under {AAVE}: run `npm ci` in {HERE.parent}")
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
    Return one of our own contracts, compiled at most once per state of the sources.

    Raises:
        ArtifactError: It does not compile; the message has what the compiler said.
    """
    document = _compiled()[name]
    return Artifact(name, document["abi"], document["bytecode"])


@cache
def multicall3_creation() -> bytes:
    """Return the code that deploys Multicall3."""
    found = MULTICALL3_CODE.search(VIEM_CONTRACTS.read_text())
    if found is None:
        raise ArtifactError(f"no Multicall3 in {VIEM_CONTRACTS}")
    return bytes.fromhex(found[1][2:])


@cache
def _compiled() -> dict[str, Any]:
    sources = sorted((HERE / "contracts").glob("*.sol"))
    script = HERE / "compile.js"
    digest = hashlib.sha256()
    for path in (script, *sources):
        digest.update(path.name.encode() + path.read_bytes())
    kept = CACHE / f"contracts-{digest.hexdigest()[:16]}.json"
    if not kept.is_file():
        CACHE.mkdir(exist_ok=True)
        fresh = kept.with_suffix(f".{os.getpid()}.part")
        fresh.write_text(_compile(script, sources))
        fresh.replace(kept)
    compiled: dict[str, Any] = json.loads(kept.read_text())
    return compiled


def _compile(script: Path, sources: Sequence[Path]) -> str:
    command = ["node", str(script), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent)
    if done.returncode != 0:
        raise ArtifactError(f"the feeds do not compile: {done.stderr.strip()}")
    return done.stdout
