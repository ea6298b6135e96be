"""Where settings come from: the TOML file, `.env`, a systemd credential, the environment."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_origin

from dotenv.parser import parse_stream
from pydantic import BaseModel, TypeAdapter, ValidationError

from chimera.errors import Refuse
from chimera.settings.models import HistorySettings, Settings

PREFIX = "CHIMERA_"
OTHERS = frozenset({"CHIMERA_CONFIG", "CHIMERA_FORK_URL"})  # ours, but no settings
SQLITE = "sqlite+aiosqlite:///"

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layer:
    """One source: its values, its name in complaints, and what it calls each key."""

    origin: str
    values: Tree
    variables: Mapping[tuple[str, ...], str] = field(default_factory=dict)

    def has(self, key: tuple[int | str, ...]) -> bool:
        """Tell whether this layer says something about `key`, or about what it stands in."""
        value: Any = self.values
        for part in key:
            if isinstance(value, list) or not isinstance(value, dict):
                return True
            if part not in value:
                return False
            value = value[part]
        return True


def file_layer(path: Path) -> Layer:
    """
    Read a TOML file.

    Raises:
        Refuse: It cannot be read, or is not TOML.
    """
    try:
        values = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise Refuse(f"{path}: there is no such file; expected a configuration in TOML") from None
    except OSError as error:
        raise Refuse(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise Refuse(f"{path}: expected text in UTF-8, found other bytes") from None
    except (ValueError, RecursionError) as error:  # beyond TOML's errors: a number without end
        raise Refuse(f"{path}: not valid TOML: {error}") from None
    history = values.setdefault("history", {})
    if isinstance(history, dict):
        history.setdefault("url", HistorySettings().url)  # relative, so it needs the folder, too
    return Layer(str(path), _anchored(values, path.parent))


def dotenv(path: Path) -> dict[str, str]:
    """
    Read a file of NAME=value lines; nothing without one.

    Raises:
        Refuse: It is there and cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            found = list(parse_stream(lines))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError):
        raise Refuse(f"{path}: cannot be read as lines of NAME=value") from None
    for binding in found:
        if binding.error:
            raise Refuse(f"{path}: line {binding.original.line}: expected NAME=value")
    return {binding.key: binding.value or "" for binding in found if binding.key}


def variables_layer(origin: str, environment: Mapping[str, str]) -> Layer:
    """
    Read every CHIMERA_<SECTION>__<KEY>.

    Raises:
        Refuse: A CHIMERA_ variable names no setting.
    """
    values: Tree = {}
    names: dict[tuple[str, ...], str] = {}
    known = _variables()
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in OTHERS:
            continue
        if name not in known:
            raise Refuse(f"{origin}: {name}: not a setting{_suggestion(name, known)}")
        section, key, annotation = known[name]
        values.setdefault(section, {})[key] = _converted(environment[name], annotation)
        names[section, key] = name
    return Layer(origin, _anchored(values, Path.cwd()), names)


def variable_names() -> list[str]:
    """List every environment variable that is a setting."""
    return list(_variables())


def _variables() -> dict[str, tuple[str, str, Any]]:
    return {
        f"{PREFIX}{section}__{key}".upper(): (section, key, its.annotation)
        for section, of in Settings.model_fields.items()
        if isinstance(of.annotation, type) and issubclass(of.annotation, BaseModel)
        for key, its in of.annotation.model_fields.items()
    }


def _suggestion(name: str, known: Mapping[str, object]) -> str:
    if name == "CHIMERA_PROTOCOLS" or name.startswith("CHIMERA_PROTOCOLS__"):
        return "; protocols are listed in the configuration file"
    close = get_close_matches(name, known, n=1, cutoff=0.8)
    return f"; did you mean {close[0]}?" if close else "; expected CHIMERA_<SECTION>__<KEY>"


def _converted(text: str, annotation: Any) -> Any:  # noqa: ANN401  (whatever a key may hold)
    """Turn text into the declared type; what does not fit stays text and is refused as such."""
    if get_origin(annotation) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return TypeAdapter(annotation).validate_python(text.strip())
    except ValidationError:
        return text


def _anchored(values: Tree, folder: Path) -> Tree:
    """Make a relative SQLite file relative to `folder`, wherever the daemon was started."""
    history = values.get("history")
    url = history.get("url") if isinstance(history, dict) else None
    if not isinstance(url, str) or not url.startswith(SQLITE):
        return values
    place, mark, query = url.removeprefix(SQLITE).partition("?")
    if not place or "\0" in place or place.startswith((":memory:", "file:")):
        return values
    absolute = (folder.resolve() / place).resolve()
    return {**values, "history": {**values["history"], "url": f"{SQLITE}{absolute}{mark}{query}"}}
