"""Values of the domain and of any family, as JSON and back, by their types alone."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

from chimera.domain.market import EMPTY, PARTS, Account

Function = get_origin(Callable[..., Any])
PLAIN: Mapping[Any, str] = {int: "int", bool: "bool", str: "str", types.NoneType: "null"}


@dataclass(frozen=True, slots=True)
class Shape:
    """How values of one type are written, and what identifies that: `name`."""

    name: str
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def canonical(document: object) -> bytes:
    """Return JSON that does not depend on the order in which mappings were filled."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def fingerprint(*hints: object) -> str:
    """Identify the shapes of these types: another field, or another type of one, changes it."""
    names = "\n".join(shape_of(hint).name for hint in hints)
    return blake2b(names.encode(), digest_size=8).hexdigest()


def shape_of(hint: object) -> Shape:
    """
    Return how values of a type are written.

    Bytes become hex, sets sorted lists, mappings objects. Dataclasses become objects of the fields
    that their constructor takes, and so does an account; what equals its default is left out. A
    dataclass with functions among its fields (the arithmetic of a revision) is a constant: its
    module's name for it is written.

    Raises:
        TypeError: Nothing here can write this type.
    """
    known = _known.get(hint)
    if known is None:
        known = _known[hint] = _shape(hint)
    return known


_known: dict[object, Shape] = {}


def _shape(hint: object) -> Shape:
    if isinstance(hint, NewType):
        return shape_of(hint.__supertype__)
    if hint in PLAIN:
        return Shape(PLAIN[hint], _same, _same)
    if hint is bytes:
        return Shape("bytes", written_bytes, read_bytes)
    if isinstance(hint, type) and (is_dataclass(hint) or hint is Account):
        return _constant(hint) if _has_functions(hint) else _record(hint)
    if isinstance(hint, type) and hasattr(hint, "_fields"):
        return _row(hint.__name__, tuple(get_type_hints(hint).values()), hint)
    return _generic(hint, get_origin(hint), get_args(hint))


def _generic(hint: object, origin: object, arguments: tuple[Any, ...]) -> Shape:
    if origin is Literal:
        return Shape(f"one of {arguments}", _same, _same)
    if origin in {Union, types.UnionType}:
        return _optional(hint, arguments)
    if origin is tuple and arguments[-1:] != (...,):
        return _row("tuple", arguments, lambda *parts: parts)
    if origin is tuple:
        return _several("tuple", arguments[0], tuple, _same)
    if origin is frozenset:
        return _several("set", arguments[0], frozenset, sorted)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(*arguments)
    raise TypeError(f"{hint} has no shape that a recording could keep")


def written_bytes(value: bytes) -> str:
    """Return bytes as hex."""
    return f"0x{value.hex()}"


def read_bytes(text: str) -> bytes:
    """Return the bytes of hex."""
    return bytes.fromhex(text.removeprefix("0x"))


def _same(value: Any) -> Any:  # noqa: ANN401  (JSON has it as it is)
    return value


def _optional(hint: object, arguments: tuple[Any, ...]) -> Shape:
    inner = [argument for argument in arguments if argument is not types.NoneType]
    if len(inner) != 1 or len(arguments) == 1:
        raise TypeError(f"{hint} has no shape that a recording could keep")
    shape = shape_of(inner[0])
    return Shape(
        f"{shape.name}?",
        lambda value: None if value is None else shape.write(value),
        lambda value: None if value is None else shape.read(value),
    )


def _several(
    name: str,
    item: object,
    build: Callable[[Any], Any],
    order: Callable[[Any], Any],
) -> Shape:
    shape = shape_of(item)
    return Shape(
        f"{name}[{shape.name}]",
        lambda value: [shape.write(one) for one in order(value)],
        lambda value: build(shape.read(one) for one in value),
    )


def _row(name: str, items: tuple[Any, ...], build: Callable[..., Any]) -> Shape:
    shapes = [shape_of(item) for item in items]
    return Shape(
        f"{name}({', '.join(shape.name for shape in shapes)})",
        lambda value: [shape.write(one) for shape, one in zip(shapes, value, strict=True)],
        lambda value: build(*(shape.read(one) for shape, one in zip(shapes, value, strict=True))),
    )


def _mapping(key: object, item: object) -> Shape:
    keys, items = shape_of(key), shape_of(item)
    if keys.name not in {"bytes", "int", "str"}:
        raise TypeError(f"a mapping from {keys.name} is no JSON object")
    write_key, read_key = (str, int) if keys.name == "int" else (keys.write, keys.read)
    return Shape(
        f"{{{keys.name}: {items.name}}}",
        lambda value: {write_key(name): items.write(one) for name, one in value.items()},
        lambda value: {read_key(name): items.read(one) for name, one in value.items()},
    )


def _record(kind: type) -> Shape:
    if kind is Account:
        parts = get_type_hints(Account.__new__)
        return _object(kind, {name: parts[name] for name in PARTS}, partial(getattr, EMPTY))
    hints, taken = get_type_hints(kind), {its.name: its for its in fields(kind) if its.init}
    return _object(kind, {name: hints[name] for name in taken}, lambda name: _default(taken[name]))


def _object(kind: type, hints: Mapping[str, Any], default: Callable[[str], object]) -> Shape:
    shapes = {name: shape_of(hint) for name, hint in hints.items()}
    usual = {name: default(name) for name in hints}

    def write(value: object) -> dict[str, Any]:
        found = ((name, getattr(value, name)) for name in shapes)
        return {name: shapes[name].write(one) for name, one in found if one != usual[name]}

    def read(value: dict[str, Any]) -> object:
        return kind(**{name: shapes[name].read(one) for name, one in value.items()})

    inside = ", ".join(f"{name}: {shape.name}" for name, shape in shapes.items())
    return Shape(f"{kind.__name__}({inside})", write, read)


def _default(its: Field[Any]) -> object:
    return its.default if its.default_factory is MISSING else its.default_factory()


def _has_functions(kind: type) -> bool:
    return any(get_origin(hint) is Function for hint in get_type_hints(kind).values())


def _constant(kind: type) -> Shape:
    module = sys.modules[kind.__module__]
    constants = {name: one for name, one in vars(module).items() if isinstance(one, kind)}

    def write(value: object) -> str:
        for name, one in constants.items():
            if one is value or one == value:
                return name
        raise TypeError(f"{kind.__name__}: {module.__name__} has no name for {value}")

    return Shape(f"{kind.__name__}[{', '.join(constants)}]", write, constants.__getitem__)
