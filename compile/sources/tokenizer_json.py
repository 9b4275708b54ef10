"""Parts of a tokenizer.json, and its check by the package that will read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tokenizers import Tokenizer

from ferrylm.errors import TokenizerError
from ferrylm.runtime.strict_json import JsonValue

# Tokens that end an answer in some chat format, whatever the file calls its end of sequence.
STOP_TEXTS = frozenset(
    {
        "<|im_end|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "<|end|>",
        "<end_of_turn>",
    }
)


def added_token(content: str, index: int, *, special: bool) -> JsonValue:
    """Return the entry of a token that is found in the text as it is."""
    return {
        "id": index,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }


def begin_with(token: str, index: int) -> JsonValue:
    """Return the post-processor that puts one special token before the text."""
    first: JsonValue = {"SpecialToken": {"id": token, "type_id": 0}}
    text: JsonValue = {"Sequence": {"id": "A", "type_id": 0}}
    second: JsonValue = {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, first, second],
        "special_tokens": {token: {"id": token, "ids": [index], "tokens": [token]}},
    }


def bpe_model(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    *,
    unknown: str | None = None,
    byte_fallback: bool = False,
    ignore_merges: bool = False,
) -> JsonValue:
    """Return a BPE model entry."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": unknown is not None,
        "byte_fallback": byte_fallback,
        "ignore_merges": ignore_merges,
        "vocab": dict(vocabulary),
        "merges": [[left, right] for left, right in merges],
    }


def serialized(parts: Mapping[str, JsonValue]) -> str:
    """Let the `tokenizers` package read the parts, and return its own text of them.

    Raises TokenizerError for what it refuses. Only for parts made here: a tokenizer.json from
    elsewhere is first loaded in a limited process (`tokenizer_check.py`).
    """
    document = {"version": "1.0", "truncation": None, "padding": None, **parts}
    try:
        text: str = Tokenizer.from_str(json.dumps(document, ensure_ascii=False)).to_str()
    except (KeyboardInterrupt, SystemExit):
        raise
    # Panics of the package derive from BaseException only.
    except BaseException as problem:
        raise TokenizerError(
            f"a vocabulary that the tokenizers package refuses: {ascii(str(problem))[:200]}",
            wanted="a consistent vocabulary",
            fix="fetch or convert the file again",
        ) from None
    return text
