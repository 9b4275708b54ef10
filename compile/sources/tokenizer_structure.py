"""Look through a tokenizer.json for what would be dangerous at any time, not only on a probe."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ferrylm.errors import TokenizerError
from ferrylm.runtime.strict_json import JsonValue

_STAGES = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_KEYS = {"version", "truncation", "padding", "added_tokens", "model", *_STAGES}
_MODELS = {"BPE", "Unigram", "WordPiece", "WordLevel"}
_MAX_EXPRESSION_CHARACTERS = 4096
_MAX_COMPONENTS = 64
# Replacements may lengthen a text; chained, they multiply. SentencePiece needs a factor of 3.
_MAX_GROWTH = 64


def check_structure(document: JsonValue) -> dict[str, JsonValue]:
    """Return a tokenizer.json as an object, with truncation and padding taken out.

    Both would silently cut or stretch prompts. Raises TokenizerError for an unknown part, a very
    long expression, or replacements that can multiply a text's length more than 64 times.
    """
    if type(document) is not dict or not set(document) <= _KEYS:
        raise _refused("parts that the format does not have")
    model = document.get("model")
    kind = model.get("type", "BPE") if type(model) is dict else None
    if type(kind) is not str or kind not in _MODELS:
        raise _refused("no model of a known type")
    components = [part for stage in _STAGES for part in _components(document.get(stage))]
    if len(components) > _MAX_COMPONENTS:
        raise _refused(f"{len(components)} components, more than {_MAX_COMPONENTS}")
    for component in components:
        if len(_expression(component)) > _MAX_EXPRESSION_CHARACTERS:
            raise _refused("an expression of more than 4096 characters")
    for stage in _STAGES:
        growth = prod(_growth(part) for part in _components(document.get(stage)))
        if growth > _MAX_GROWTH:
            raise _refused(f"replacements that can make a text {growth} times as long")
    return {**document, "truncation": None, "padding": None}


def _components(stage: JsonValue) -> Iterator[dict[str, JsonValue]]:
    """Yield every object with a type, however deep; `strict_json` has bounded the depth."""
    if type(stage) is dict:
        if "type" in stage:
            yield stage
        for value in stage.values():
            yield from _components(value)
    elif type(stage) is list:
        for value in stage:
            yield from _components(value)


def _expression(component: dict[str, JsonValue]) -> str:
    pattern = component.get("pattern")
    if type(pattern) is dict:
        pattern = pattern.get("Regex", pattern.get("String"))
    return pattern if type(pattern) is str else ""


def _growth(component: dict[str, JsonValue]) -> int:
    """Return by what factor a component can lengthen a text."""
    if component.get("type") != "Replace":
        return 1
    content = component.get("content")
    return max(1, len(content.encode("utf-8"))) if type(content) is str else 1


def _refused(found: str) -> TokenizerError:
    return TokenizerError(
        f"a tokenizer.json with {found}",
        wanted="one as the tokenizers package writes it",
        fix="fetch the file again, or do not trust this model",
    )
