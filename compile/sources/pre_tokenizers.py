"""How byte-level BPE tokenizers cut text into words, by the name that GGUF files give it.

The expressions are those of the models' own tokenizer.json files, in Oniguruma's syntax. Where a
family normalizes its text first (Qwen2: NFC), that is part of its entry.
"""

from __future__ import annotations

from dataclasses import dataclass

from ferrylm.errors import UnsupportedModelError
from ferrylm.runtime.strict_json import JsonValue

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_DIGITS: JsonValue = {"type": "Digits", "individual_digits": True}


@dataclass(frozen=True)
class PreTokenizer:
    """What surrounds the merges of one family: steps before them, normalizer, defaults.

    With `ignore_merges`, a word that is a token is that token, whatever the merges say.
    """

    steps: tuple[JsonValue, ...]
    normalizer: JsonValue = None
    ignore_merges: bool = False
    adds_bos: bool = False

    def to_json(self) -> JsonValue:
        """Return the pre_tokenizer entry of a tokenizer.json, bytes to characters last."""
        return {"type": "Sequence", "pretokenizers": [*self.steps, byte_level(False)]}


def byte_level(use_regex: bool) -> JsonValue:
    """Return a ByteLevel entry, which is a pre-tokenizer and a decoder alike."""
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def _split(expression: str) -> JsonValue:
    return {
        "type": "Split",
        "pattern": {"Regex": expression},
        "behavior": "Isolated",
        "invert": False,
    }


_GPT2_WORDS = PreTokenizer((_split(_GPT2),))
_DIGITS_THEN_GPT2 = PreTokenizer((_DIGITS, _split(_GPT2)))
_LLAMA3_WORDS = PreTokenizer((_split(_LLAMA3),), ignore_merges=True, adds_bos=True)
_QWEN2_WORDS = PreTokenizer((_split(_QWEN2),), normalizer={"type": "NFC"})
_TEKKEN_WORDS = PreTokenizer((_split(_TEKKEN),), ignore_merges=True, adds_bos=True)
# What llama.cpp does with files that were converted before tokenizer.ggml.pre existed.
_DEFAULT_WORDS = PreTokenizer(
    (
        _split(r"[\p{P}\$\+<=>\^~\|]+"),
        _split(_GPT2),
        _split(r"\p{N}+"),
        _split(r"[0-9][0-9][0-9]"),
    )
)

PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    "default": _DEFAULT_WORDS,
    "gpt-2": _GPT2_WORDS,
    "phi-2": _GPT2_WORDS,
    "olmo": _GPT2_WORDS,
    "smollm": _DIGITS_THEN_GPT2,
    "starcoder": _DIGITS_THEN_GPT2,
    "llama3": _LLAMA3_WORDS,
    "llama-v3": _LLAMA3_WORDS,
    "llama-bpe": _LLAMA3_WORDS,
    "qwen2": _QWEN2_WORDS,
    "deepseek-r1-qwen": _QWEN2_WORDS,
    "tekken": _TEKKEN_WORDS,
}


def pre_tokenizer(name: str) -> PreTokenizer:
    """Return the entry of a tokenizer.ggml.pre. Raises UnsupportedModelError, which names it."""
    if name not in PRE_TOKENIZERS:
        raise UnsupportedModelError(
            f"GGUF tokenizer with pre-tokenizer {ascii(name)[:60]}",
            wanted="one of " + ", ".join(sorted(PRE_TOKENIZERS)),
            fix="compile from the model's Hugging Face folder, which has its own tokenizer.json",
        )
    return PRE_TOKENIZERS[name]
