"""Frozen dataclasses to JSON and back, driven by their type hints, with exact types."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from functools import lru_cache
from typing import Any, NoReturn

from ferrylm.errors import ArtifactError
from ferrylm.runtime.strict_json import JsonValue

FIX = "compile the model again, or fetch the artifact again"

_SCALARS: dict[type, str] = {
    str: "a text",
    int: "an integer",
    float: "a number with a decimal point",
    bool: "true or false",
}


def refuse(where: str, found: str, wanted: str) -> NoReturn:
    """Raise the ArtifactError of one field of the manifest."""
    raise ArtifactError(f"manifest.json: {where} is {found}", wanted=wanted, fix=FIX)


def show(value: object) -> str:
    """Describe a stranger's value in a message: ASCII, and short whatever it is."""
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    text = ascii(value[:80] if isinstance(value, str) else value)
    return text if len(text) <= 80 else text[:77] + "..."


def encode(kind: Any, value: Any, where: str) -> JsonValue:
    """Turn a value of the annotated type `kind` into JSON; another type raises ArtifactError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else encode(_optional(arguments), value, where)
    if origin is tuple:
        _check_type(value, tuple, where, "a tuple")
        return [encode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin is dict:
        _check_type(value, dict, where, "a dict")
        return {
            encode_key(key, where): encode(arguments[1], item, f"{where}[{show(key)}]")
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(kind):
        _check_type(value, typing.cast(type, kind), where, f"a {kind}")
        return {
            name: encode(hint, getattr(value, name), f"{where}.{name}".lstrip("."))
            for name, hint in _fields(typing.cast(type, kind))
            if not _is_left_out(typing.cast(type, kind), name, getattr(value, name))
        }
    # A whole number is a fine value of a float field in Python, but has another JSON text.
    scalar = float(value) if kind is float and type(value) is int else value
    return _scalar(kind, scalar, where)


def encode_key(key: object, where: str) -> str:
    """Return a dict's key if it is a text, else raise ArtifactError."""
    if type(key) is not str:
        refuse(where, f"a dict with the key {show(key)}", "texts as keys")
    return key


def decode(kind: Any, value: JsonValue, where: str) -> Any:
    """Turn JSON into a value of the annotated type `kind`.

    Every field must be there, but for those that came later, and no other; no type stands in for
    another (true is no integer, 1 is no float). Raises ArtifactError naming the field.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else decode(_optional(arguments), value, where)
    if origin is tuple:
        if type(value) is not list:
            refuse(where, show(value), "a list")
        return tuple(decode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if type(value) is not dict:
            refuse(where, show(value), "an object")
        return {
            key: decode(arguments[1], item, f"{where}[{show(key)}]") for key, item in value.items()
        }
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(typing.cast(type, kind), value, where)
    return _scalar(kind, value, where)


def _decode_dataclass(kind: type, value: JsonValue, where: str) -> Any:
    if type(value) is not dict:
        refuse(where or "its whole", show(value), "an object")
    fields = dict(_fields(kind))
    for key in value:
        if key not in fields:
            refuse(f"{where}.{show(key)}".lstrip("."), "not a field of this version", "no such key")
    decoded = {}
    for name, hint in fields.items():
        path = f"{where}.{name}".lstrip(".")
        if name not in value and name in _later_fields(kind):
            continue
        if name not in value:
            refuse(path, "missing", "every field of this version")
        decoded[name] = decode(hint, value[name], path)
    return kind(**decoded)


@lru_cache(maxsize=64)
def _fields(kind: type) -> tuple[tuple[str, Any], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in dataclasses.fields(kind))


@lru_cache(maxsize=64)
def _later_fields(kind: type) -> dict[str, Any]:
    """Return the fields that came after the format's first version, with their defaults."""
    return {
        field.name: field.default
        for field in dataclasses.fields(kind)
        if field.metadata.get("later")
    }


def _is_left_out(kind: type, name: str, value: object) -> bool:
    later = _later_fields(kind)
    return name in later and value == later[name]


def _optional(arguments: tuple[Any, ...]) -> Any:
    (kind,) = (argument for argument in arguments if argument is not type(None))
    return kind


def _check_type(value: object, kind: type, where: str, wanted: str) -> None:
    if type(value) is not kind:
        refuse(where or "its whole", f"of type {type(value).__name__}", wanted)


def _scalar(kind: Any, value: Any, where: str) -> JsonValue:
    if type(value) is not kind:
        refuse(where, show(value), _SCALARS[kind])
    if kind is float and not math.isfinite(value):
        refuse(where, show(value), "a finite number")
    return typing.cast(JsonValue, value)
