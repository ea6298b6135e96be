"""Configurations with which the daemon follows a chain of this stage set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from devnet.anvil import CHAIN_ID

BLOCK_SECONDS = 2


def write_config(
    path: Path,
    *,
    ws: str,
    http: str,
    protocols: Iterable[Mapping[str, object]],
    redis_url: str = "",
    history: str = "",
    listen: str = "127.0.0.1:0",
    extra: Mapping[str, Mapping[str, object]] | None = None,
) -> Path:
    """
    Write a configuration.

    Args:
        path: The TOML file to write.
        ws: Subscriptions' URL.
        http: Requests' URL.
        protocols: One `[[protocols]]` entry each.
        redis_url: Empty for in-memory only.
        history: SQLAlchemy URL, by default a SQLite file beside `path`.
        listen: Where the daemon's HTTP listens, empty for nowhere.
        extra: Further sections, or keys that replace those of a section.
    """
    sections: dict[str, dict[str, object]] = {
        "chain": {"id": CHAIN_ID, "name": "devnet", "block_time": float(BLOCK_SECONDS)},
        "rpc": {"ws": [ws], "http": [http]},
        "redis": {"url": redis_url},
        "history": {"url": history or f"sqlite+aiosqlite:///{path.with_suffix('.db')}"},
        "http": {"listen": listen},
    }
    for name, values in (extra or {}).items():
        sections.setdefault(name, {}).update(values)
    lines = [line for name, values in sections.items() for line in _table(f"[{name}]", values)]
    lines += [line for protocol in protocols for line in _table("[[protocols]]", protocol)]
    path.write_text("\n".join(lines))
    return path


def _table(head: str, values: Mapping[str, object]) -> list[str]:
    # JSON's strings, numbers, booleans and lists of strings are TOML's too.
    return [head, *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""]
