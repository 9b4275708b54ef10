"""JSON from strangers: one meaning per document, bounded in size, depth and numbers."""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn, TypeAlias, Union

from ferrylm.errors import ArtifactError, FerryError

JsonValue: TypeAlias = Union[bool, int, float, str, list["JsonValue"], dict[str, "JsonValue"], None]  # noqa: UP007

_LOWEST_INTEGER = -(2**63)
_HIGHEST_INTEGER = 2**64 - 1
_LONGEST_INTEGER = 20  # digits of 2**64 - 1, or the sign and digits of -(2**63)

_NOT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'"[]{}')
_STRING = re.compile(rb'"[^"]*"?')
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class _Refused(Exception):
    """What is wrong with the document, without the words that name the document."""


def loads(
    data: bytes,
    *,
    what: str,
    error: type[FerryError] = ArtifactError,
    max_bytes: int = 16 << 20,
    max_depth: int = 64,
) -> JsonValue:
    """Parse one JSON document (RFC 8259) that a stranger may have written.

    Refused, beyond what the grammar refuses: more than `max_bytes`, more than `max_depth` open
    brackets, a byte order mark, invalid UTF-8, lone surrogates, a key twice in one object,
    NaN and the infinities, integers beyond 64 bits. `what` names the document in the message.

    Raises `error`.
    """
    try:
        return _parse(data, max_bytes, max_depth)
    except _Refused as refused:
        raise error(
            f"{what}: {refused}",
            wanted="one well-formed JSON document in UTF-8",
            fix="fetch or make the file again",
        ) from None


def dumps_canonical(value: JsonValue) -> bytes:
    """Write the one text of a value: ASCII, sorted keys, no spaces, a newline at the end.

    Floats are written as repr does, the shortest text that reads back exactly. `loads` gives
    the same value back; what it would refuse raises ValueError or TypeError here.
    """
    _check_writable(value)
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def _parse(data: bytes, max_bytes: int, max_depth: int) -> JsonValue:
    if len(data) > max_bytes:
        raise _Refused(f"{len(data)} bytes of JSON, the limit is {max_bytes}")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise _Refused("begins with a byte order mark")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise _Refused(f"byte {problem.start} is not UTF-8") from None
    # The C parser recurses once per bracket, so depth is known before it runs.
    _check_depth(data, max_depth)
    try:
        value: JsonValue = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as problem:
        raise _Refused(f"{problem.msg} at character {problem.pos}") from None
    if _SURROGATE_ESCAPE.search(data):
        _check_surrogates(value)
    return value


def _check_depth(data: bytes, max_depth: int) -> None:
    """Refuse too many open brackets; strings are taken out first, escapes before strings.

    Where the document is malformed this may miscount, but only behind the first error, which
    the parser never passes.
    """
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = _STRING.sub(b"", unescaped.translate(None, _NOT_STRUCTURE))
    depth = 0
    for byte in brackets:
        if byte in b"[{":
            depth += 1
            if depth > max_depth:
                raise _Refused(f"nested deeper than {max_depth} levels")
        else:
            depth -= 1


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused(f"the key {key[:60]!a} twice in one object")
            seen.add(key)
    return result


def _integer(text: str) -> int:
    if len(text) <= _LONGEST_INTEGER:
        value = int(text)
        if _LOWEST_INTEGER <= value <= _HIGHEST_INTEGER:
            return value
    raise _Refused(f"the integer {text[:24]}... does not fit 64 bits")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Refused(f"the number {text[:24]} is too large")
    return value


def _constant(text: str) -> NoReturn:
    raise _Refused(f"{text} is not a JSON number")


def _check_surrogates(value: JsonValue) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _Refused("a text holds half of a surrogate pair") from None


def _check_writable(value: JsonValue) -> None:
    """Refuse what json.dumps would silently turn into something else."""
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"a key of type {type(key).__name__} in JSON")
            key.encode("utf-8")
            _check_writable(item)
    elif type(value) is list:
        for item in value:
            _check_writable(item)
    elif type(value) is str:
        value.encode("utf-8")
    elif type(value) is int:
        if not _LOWEST_INTEGER <= value <= _HIGHEST_INTEGER:
            raise ValueError(f"the integer {value} does not fit 64 bits")
    elif value is not None and type(value) not in (bool, float):
        raise TypeError(f"a value of type {type(value).__name__} in JSON")
