"""Solidity sources to ABIs and code, by npm's compiler, once per state of the sources."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODULES = HERE.parent / "node_modules"
CACHE = HERE.parent / ".devnet-cache"
SCRIPT = HERE / "compile.js"


class CompileError(Exception):
    """Sources are missing or do not compile; the message has what the compiler said."""


@dataclass(frozen=True)
class Project:
    """
    Sources that belong together.

    Attributes:
        name: What the kept result is called.
        root: Where the sources' paths, and those that they import, begin.
        lots: The sources, in lots that are compiled side by side.
        seals: Files that change whenever the result may.
        evm: The EVM version to compile for.
        remappings: As the compiler takes them.
        compiler: The folder of the compiler among the npm parts.
    """

    name: str
    root: Path
    lots: tuple[tuple[str, ...], ...]
    seals: tuple[Path, ...]
    evm: str
    remappings: tuple[str, ...] = ()
    compiler: str = "solc"


@cache
def compiled(project: Project) -> dict[str, Any]:
    """
    Return `{contract: {abi, bytecode, links}}`, kept from last time where nothing has changed.

    Raises:
        CompileError: A source is missing, or does not compile.
    """
    kept = CACHE / f"{project.name}-{_digest(project)}.json"
    if not kept.is_file():
        CACHE.mkdir(exist_ok=True)
        with ThreadPoolExecutor(len(project.lots)) as pool:
            results = pool.map(lambda lot: _compile(project, lot), project.lots)
            contracts = {name: one for result in results for name, one in result.items()}
        fresh = kept.with_suffix(f".{os.getpid()}.part")
        fresh.write_text(json.dumps(contracts))
        fresh.replace(kept)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def _digest(project: Project) -> str:
    settings = (project.lots, project.evm, project.remappings)
    digest = hashlib.sha256(repr(settings).encode())
    for path in (SCRIPT, MODULES / project.compiler / "package.json", *project.seals):
        if not path.is_file():
            raise CompileError(f"{path} is missing: run `npm ci` in {HERE.parent}")
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(project: Project, sources: Sequence[str]) -> dict[str, Any]:
    asked = {
        "compiler": project.compiler,
        "root": str(project.root),
        "sources": sources,
        "remappings": project.remappings,
        "evmVersion": project.evm,
    }
    command, question = ["node", str(SCRIPT)], json.dumps(asked)
    done = subprocess.run(
        command, input=question, capture_output=True, text=True, check=False, cwd=HERE.parent
    )
    if done.returncode != 0:
        raise CompileError(f"{project.name} does not compile: {done.stderr.strip()}")
    contracts: dict[str, Any] = json.loads(done.stdout)
    return contracts
