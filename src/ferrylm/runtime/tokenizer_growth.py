"""How much longer a tokenizer's rewriting steps can make a text: a bound, from its description.

A tokenizer file is data from strangers. Six replacements of one character by sixteen make a
gigabyte of sixty characters, and the memory's end is the process's end.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from ferrylm.errors import TokenizerError

MAX_GROWTH = 1 << 16


def growth_of(state: bytes | None) -> int:
    """Bound the characters that one character becomes, from a normalizer's or decoder's JSON.

    Raises TokenizerError if the bound is above 65536.
    """
    growth = 1 if state is None else _growth(json.loads(state))
    if growth > MAX_GROWTH:
        raise TokenizerError(
            f"a tokenizer that may make one character {growth} long",
            wanted=f"at most {MAX_GROWTH}",
            fix="do not use this file: its replacements only serve to fill the memory",
        )
    return growth


def _growth(step: dict[str, Any]) -> int:
    growth = 1
    for inner in (*step.get("normalizers", ()), *step.get("decoders", ())):
        growth *= _growth(inner)
    if step["type"] == "Replace":
        content, pattern = len(step["content"]), step["pattern"].get("String")
        # A regular expression may match the empty text between any two characters.
        growth *= 1 + content if not pattern else max(1, -(-content // len(pattern)))
    elif step["type"] == "Precompiled":
        growth *= _longest_precompiled(step["precompiled_charsmap"])
    return growth


def _longest_precompiled(encoded: str) -> int:
    """Return the longest replacement of a SentencePiece character map, in bytes.

    The map is the little-endian uint32 size of a trie, the trie, and NUL-terminated texts.
    """
    blob = base64.b64decode(encoded)
    texts = blob[4 + int.from_bytes(blob[:4], "little") :]
    return max(1, *map(len, texts.split(b"\0")))
