"""What each token of a vocabulary adds to the text, in bytes.

Two families of decoders cover the tokenizers of language models. In byte-level BPE (GPT-2, Llama
3, Qwen, SmolLM) every character of a token stands for one byte. In SentencePiece's (Llama 2,
Mistral, Gemma) U+2581 stands for a space, <0xHH> for a byte, and the first space of a text is
dropped. In both, a text is its tokens' bytes in a row, so that it can be decoded piece by piece.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ferrylm.errors import TokenizerError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class TextRule:
    """How token texts become a text: the concatenation of `to_bytes(token)`, but for its start.

    At the start of a text up to `strip_spaces` leading spaces are dropped, or, where
    `first_token` is set, that function takes the place of `to_bytes` for the first token.
    """

    to_bytes: Callable[[str], bytes]
    first_token: Callable[[str], bytes] | None = None
    strip_spaces: int = 0


def rule_of(decoder_state: bytes | None) -> TextRule:
    """Return the rule of a decoder, given as the JSON of tokenizers' decoder, None for none.

    Raises TokenizerError for a decoder whose tokens are not simply concatenated.
    """
    if decoder_state is None:
        return TextRule(lambda token: b" " + token.encode(), first_token=str.encode)
    state = json.loads(decoder_state)
    steps = state["decoders"] if state["type"] == "Sequence" else [state]
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"]:
        return TextRule(_byte_level_bytes)
    if kinds == ["Metaspace"]:
        return _metaspace_rule(steps[0])
    return _sentencepiece_rule(steps)


def _byte_characters() -> dict[str, int]:
    """Return the byte of each character of byte-level BPE: printable ones stand for themselves."""
    printable = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
    others = (byte for byte in range(256) if byte not in printable)
    characters = {chr(byte): byte for byte in printable}
    return characters | {chr(256 + rank): byte for rank, byte in enumerate(others)}


_BYTE_OF_CHARACTER = _byte_characters()


def _byte_level_bytes(token: str) -> bytes:
    try:
        return bytes([_BYTE_OF_CHARACTER[character] for character in token])
    except KeyError:  # an added token is plain text
        return token.encode()


def _metaspace_rule(step: dict[str, str]) -> TextRule:
    mark = step["replacement"]

    def to_bytes(token: str) -> bytes:
        return token.replace(mark, " ").encode()

    def first_token(token: str) -> bytes:
        return token.replace(mark, "").encode()

    keeps_first = step["prepend_scheme"] == "never"
    return TextRule(to_bytes, first_token=None if keeps_first else first_token)


def _sentencepiece_rule(steps: list[dict[str, Any]]) -> TextRule:
    replacements: list[tuple[str, str]] = []
    has_bytes = fused = False
    strip_spaces = 0
    for step in steps:
        kind = step["type"]
        if kind == "Replace" and "String" in step["pattern"] and not (fused or has_bytes):
            replacements.append((step["pattern"]["String"], step["content"]))
        elif kind == "ByteFallback" and not fused:
            has_bytes = True
        elif kind == "Fuse":
            fused = True
        elif kind == "Strip" and fused and step["content"] == " " and step["stop"] == 0:
            strip_spaces += step["start"]
        else:
            raise _unsupported(json.dumps(step))

    def to_bytes(token: str) -> bytes:
        for pattern, content in replacements:
            token = token.replace(pattern, content)
        match = _BYTE_TOKEN.fullmatch(token) if has_bytes else None
        return bytes.fromhex(match[1]) if match else token.encode()

    return TextRule(to_bytes, strip_spaces=strip_spaces)


def _unsupported(step: str) -> TokenizerError:
    return TokenizerError(
        f"a tokenizer whose decoder has the step {step[:100]}",
        wanted="a byte-level or SentencePiece decoder (ByteLevel, Metaspace, or Replace, "
        "ByteFallback, Fuse and Strip)",
        fix="this tokenizer cannot be streamed by this version",
    )
