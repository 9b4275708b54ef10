"""The messages of a conversation, checked and brought into the form that templates take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ferrylm.errors import UsageError

Message: TypeAlias = Mapping[str, object]
"""A dict with "role" (str) and "content": str, or a list of {"type": "text", "text": str}."""

MAX_MESSAGES = 10_000
MAX_DEPTH = 32

_FIX = 'give messages like {"role": "user", "content": "Hello"}'


def checked_messages(messages: Sequence[Message]) -> list[dict[str, object]]:
    """Return the messages as plain dicts whose contents are strings.

    The text parts of a content list are joined by newlines. A content may be None or missing
    where there are "tool_calls". Other keys ("name", "tool_calls", "reasoning_content", ...) go
    to the template as they are; they must be plain JSON values.

    Raises UsageError that names the message.
    """
    if isinstance(messages, (str, bytes)) or not isinstance(messages, Sequence):
        raise UsageError(
            f"messages of type {type(messages).__name__}", wanted="a list of dicts", fix=_FIX
        )
    if not 0 < len(messages) <= MAX_MESSAGES:
        raise UsageError(f"{len(messages)} messages", wanted=f"1 to {MAX_MESSAGES}", fix=_FIX)
    return [_checked(f"messages[{i}]", message) for i, message in enumerate(messages)]


def checked_json(where: str, value: object, depth: int = 0) -> object:
    """Return a copy made of dict, list, str, int, float, bool and None only. Raises UsageError."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise _refusal(where, "a key that is no text", "text keys")
        return {key: checked_json(f"{where}.{key}", v, depth + 1) for key, v in value.items()}
    if depth < MAX_DEPTH and isinstance(value, Sequence) and not isinstance(value, bytes):
        return [checked_json(f"{where}[{i}]", v, depth + 1) for i, v in enumerate(value)]
    wanted = f"JSON values at most {MAX_DEPTH} deep"
    raise _refusal(where, f"a value of type {type(value).__name__}", wanted)


def _checked(where: str, message: object) -> dict[str, object]:
    if not isinstance(message, Mapping):
        raise _refusal(where, f"a value of type {type(message).__name__}", "a dict")
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise _refusal(f"{where}.role", ascii(role)[:40], "a non-empty text")
    plain = checked_json(where, message)
    assert isinstance(plain, dict)
    return {**plain, "content": _content(where, message)}


def _content(where: str, message: Mapping[str, object]) -> str | None:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if content is None and message.get("tool_calls"):
        return None
    if not isinstance(content, Sequence) or isinstance(content, bytes) or not content:
        raise _refusal(f"{where}.content", ascii(content)[:40], "a text or a list of text parts")
    return "\n".join(_part(f"{where}.content[{i}]", part) for i, part in enumerate(content))


def _part(where: str, part: object) -> str:
    text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise _refusal(where, ascii(part)[:40], 'a part like {"type": "text", "text": "Hello"}')
    return text


def _refusal(where: str, found: str, wanted: str) -> UsageError:
    return UsageError(f"{where[:80]} is {found}", wanted=wanted, fix=_FIX)
