"""From sources to `Settings`, or to one line that says what is wrong and where."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from chimera.errors import Refuse
from chimera.settings.layers import Layer, dotenv, file_layer, variables_layer
from chimera.settings.models import ProtocolSettings, Settings

CONFIG = "CHIMERA_CONFIG"
KINDS = ("aave_v3", "compound_v2", "compound_v3", "morpho_blue")
SECRET = frozenset({("rpc", "ws"), ("rpc", "http"), ("redis", "url"), ("history", "url")})
SHOWN = 80  # characters of a value in a complaint
LONGEST_INTEGER = 256  # bits of an integer in a complaint

EXPECTED = {
    "missing": "a value (it has no default)",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "tuple_type": "a list",
    "model_type": "a table of keys",
    "model_attributes_type": "a table of keys",
    "too_short": "at least one entry",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "value_error": "{error}",
}


def load(path: Path | None = None, kinds: Collection[str] = KINDS) -> Settings:
    """
    Read the configuration: a file, overridden by `.env`, a systemd credential, the environment.

    Args:
        path: The TOML file; None for $CHIMERA_CONFIG, else the shipped `base.toml`.
        kinds: Protocol families that exist.

    Raises:
        Refuse: Something is wrong; the message is one line without any secret in it.
    """
    sources = _sources()
    chosen = next((its[CONFIG] for its in sources.values() if its.get(CONFIG)), None)
    file = file_layer(path or (Path(chosen) if chosen else shipped_config() / "base.toml"))
    layers = [*(variables_layer(origin, its) for origin, its in sources.items()), file]
    try:
        settings = _validated(layers)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        unknown = (fault for fault in faults if fault["type"] == "extra_forbidden")
        raise Refuse(_complaint(next(unknown, faults[0]), layers)) from None
    for index, protocol in enumerate(settings.protocols):
        if protocol.kind not in kinds:
            expected = f"one of {', '.join(sorted(kinds))}"
            where = f"{file.origin}: protocols[{index}].kind"
            raise Refuse(f"{where}: expected {expected}, found {_found(protocol.kind)}")
    return settings


def shipped_config() -> Path:
    """Return the folder of shipped configurations: the source checkout's, else the wheel's."""
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent / "config"
    in_checkout = (package.parent / "pyproject.toml").is_file() and checkout.is_dir()
    return checkout if in_checkout else package / "_shipped" / "config"


def _sources() -> dict[str, Mapping[str, str]]:
    """Return the variables that stand above the file, strongest source first."""
    sources: dict[str, Mapping[str, str]] = {"environment": os.environ}
    if credentials := os.environ.get("CREDENTIALS_DIRECTORY"):  # systemd's LoadCredential=
        credential = Path(credentials) / "chimera.env"
        sources[str(credential)] = dotenv(credential)
    return {**sources, ".env": dotenv(Path(".env"))}


def _validated(layers: Sequence[Layer]) -> Settings:
    weaker = [layer.values for layer in layers[1:]]

    class Layered(Settings):
        layers: ClassVar = weaker

    return Layered(**layers[0].values)


def _complaint(error: Mapping[str, Any], layers: Sequence[Layer]) -> str:
    """Write the first fault as one line: where, which key, what was expected, what was found."""
    key = tuple(error["loc"])
    layer = next((layer for layer in layers if layer.has(key)), layers[-1])
    variable = layer.variables.get(key[:2])
    where = ": ".join(filter(None, [layer.origin, variable, _written(key)]))
    if error["type"] == "extra_forbidden":
        return f"{where}: not a setting; {_known(key)}"
    context = {name: str(value) for name, value in error.get("ctx", {}).items()}
    expected = EXPECTED.get(error["type"], error["msg"]).format(**context)
    if error["type"] == "missing":
        return f"{where}: expected {expected}, found nothing"
    return f"{where}: expected {expected}, found {_found(error['input'], secret=key[:2] in SECRET)}"


def _written(key: Sequence[int | str]) -> str:
    """Write a place in the tree as an operator would: protocols[0].address."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in key]
    written = "".join(parts).removeprefix(".")
    return written if written.isprintable() else repr(written)


def _known(key: Sequence[int | str]) -> str:
    """Say which keys stand in the table of an unknown one, the likeliest first if there is one."""
    table: Any = Settings
    if len(key) > 1:
        table = ProtocolSettings if key[0] == "protocols" else _section(str(key[0]))
    names = list(table.model_fields)
    close = get_close_matches(str(key[-1]), names, n=1)
    return f"did you mean {close[0]}?" if close else f"expected one of {', '.join(names)}"


def _section(name: str) -> Any:  # noqa: ANN401  (a model's class)
    return Settings.model_fields[name].annotation


def _found(value: object, *, secret: bool = False) -> str:
    """Show what was found, never what may be a password or an API key."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    if not isinstance(value, str):
        unshown = secret or (isinstance(value, int) and value.bit_length() > LONGEST_INTEGER)
        return f"a {type(value).__name__}" if unshown else str(value)[:SHOWN]
    if scheme := re.match(r"[a-z][a-z0-9+]{1,20}://", value, re.IGNORECASE):
        return f"a URL, {scheme[0]}..."
    if secret:
        return "other text" if value else '""'
    return repr(value if len(value) <= SHOWN else f"{value[:SHOWN]}...")
