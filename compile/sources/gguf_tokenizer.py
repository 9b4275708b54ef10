"""Rebuild a tokenizer from the vocabulary in a GGUF file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ferrylm.compile.sources.gguf_metadata import Metadata
from ferrylm.compile.sources.pre_tokenizers import byte_level, pre_tokenizer
from ferrylm.compile.sources.sentencepiece import (
    scores_to_merges,
    sentencepiece_decoder,
    sentencepiece_normalizer,
)
from ferrylm.compile.sources.source import TokenizerFiles
from ferrylm.compile.sources.tokenizer_json import (
    STOP_TEXTS,
    added_token,
    begin_with,
    bpe_model,
    serialized,
)
from ferrylm.errors import TokenizerError, UnsupportedModelError
from ferrylm.runtime.strict_json import JsonValue

_PREFIX = "tokenizer.ggml"
# Values of tokenizer.ggml.token_type.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
# Real vocabularies have about two million characters; what is done here grows with them.
_MAX_VOCABULARY_CHARACTERS = 1 << 23


@dataclass(frozen=True)
class _Vocabulary:
    """Tokens by id, their kinds, and the special ids that the file names."""

    tokens: list[str]
    kinds: list[int]
    bos: int | None
    eos: int | None
    unknown: int | None
    padding: int | None
    stops: tuple[int, ...]

    def of_kind(self, *kinds: int) -> dict[str, int]:
        return {
            token: index
            for index, (token, kind) in enumerate(zip(self.tokens, self.kinds, strict=True))
            if kind in kinds
        }


def gguf_tokenizer(metadata: Metadata, vocab_size: int) -> TokenizerFiles | None:
    """Build the tokenizer of a GGUF file; None if the file has none.

    Texts must be UTF-8: the pieces of byte-level BPE and SentencePiece are by construction.
    `vocab_size` is the number of rows of the embedding. Raises TokenizerError for a vocabulary
    that contradicts itself, UnsupportedModelError for a kind that is not supported.
    """
    kind = metadata.text(f"{_PREFIX}.model", default="none")
    if kind in ("none", "no_vocab"):
        return None
    builders = {"gpt2": _byte_level, "llama": _sentencepiece}
    if kind not in builders:
        raise UnsupportedModelError(
            f"GGUF tokenizer of kind {ascii(kind)[:60]}",
            wanted="one of " + ", ".join(builders),
            fix="compile from the model's Hugging Face folder, which has its own tokenizer.json",
        )
    vocabulary = _vocabulary(metadata, vocab_size)
    parts, adds_bos = builders[kind](metadata, vocabulary)
    bos = vocabulary.bos
    add_bos = metadata.flag(f"{_PREFIX}.add_bos_token", default=adds_bos) and bos is not None
    post_processor = (
        begin_with(vocabulary.tokens[bos], bos) if add_bos and bos is not None else None
    )
    template_key = "tokenizer.chat_template"
    return TokenizerFiles(
        tokenizer_json=serialized(
            {"added_tokens": _added_tokens(vocabulary), "post_processor": post_processor, **parts}
        ),
        chat_template=metadata.text(template_key) if template_key in metadata else None,
        bos_token_id=bos,
        eos_token_ids=vocabulary.stops,
        add_bos=add_bos,
        special_tokens=_special_texts(vocabulary),
    )


def _byte_level(metadata: Metadata, vocabulary: _Vocabulary) -> tuple[dict[str, JsonValue], bool]:
    words = pre_tokenizer(metadata.text(f"{_PREFIX}.pre", default="default"))
    used = {
        token: index
        for index, token in enumerate(vocabulary.tokens)
        if vocabulary.kinds[index] != _UNUSED
    }
    merges = []
    for merge in metadata.texts(f"{_PREFIX}.merges"):
        left, _, right = merge.partition(" ")
        if left not in used or right not in used or left + right not in used:
            raise _contradiction(f"the merge {ascii(merge)[:80]} of tokens that do not exist")
        merges.append((left, right))
    parts: dict[str, JsonValue] = {
        "normalizer": words.normalizer,
        "pre_tokenizer": words.to_json(),
        "decoder": byte_level(True),
        "model": bpe_model(used, merges, ignore_merges=words.ignore_merges),
    }
    return parts, words.adds_bos


def _sentencepiece(
    metadata: Metadata, vocabulary: _Vocabulary
) -> tuple[dict[str, JsonValue], bool]:
    scores = metadata.floats(f"{_PREFIX}.scores")
    if len(scores) != len(vocabulary.tokens):
        raise _contradiction(f"{len(scores)} scores for {len(vocabulary.tokens)} tokens")
    adds_space = metadata.flag(f"{_PREFIX}.add_space_prefix", default=True)
    normal = vocabulary.of_kind(_NORMAL)
    used = vocabulary.of_kind(_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE)
    unknown = vocabulary.unknown
    parts: dict[str, JsonValue] = {
        "normalizer": sentencepiece_normalizer(adds_space),
        "pre_tokenizer": None,
        "decoder": sentencepiece_decoder(adds_space),
        "model": bpe_model(
            used,
            scores_to_merges(normal, scores),
            unknown=vocabulary.tokens[unknown] if unknown is not None else None,
            byte_fallback=True,
        ),
    }
    return parts, True


def _vocabulary(metadata: Metadata, vocab_size: int) -> _Vocabulary:
    tokens = metadata.texts(f"{_PREFIX}.tokens")
    if not 0 < len(tokens) <= vocab_size:
        raise _contradiction(f"{len(tokens)} tokens for an embedding of {vocab_size} rows")
    if sum(map(len, tokens)) > _MAX_VOCABULARY_CHARACTERS:
        raise _contradiction(f"tokens of more than {_MAX_VOCABULARY_CHARACTERS} characters")
    kinds = _token_kinds(metadata, len(tokens))
    used = [token for token, kind in zip(tokens, kinds, strict=True) if kind != _UNUSED]
    if len(set(used)) != len(used) or "" in used:
        raise _contradiction("an empty token, or two tokens of one text")

    def special(key: str) -> int | None:
        return metadata.optional_integer(f"{_PREFIX}.{key}", least=0, most=len(tokens) - 1)

    eos = special("eos_token_id")
    named = {eos, special("eot_token_id"), special("eom_token_id")}
    stops = [
        index
        for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if index in named or (token in STOP_TEXTS and kind in (_CONTROL, _USER_DEFINED))
    ]
    return _Vocabulary(
        tokens=tokens,
        kinds=kinds,
        bos=special("bos_token_id"),
        eos=eos,
        unknown=special("unknown_token_id"),
        padding=special("padding_token_id"),
        stops=tuple(stops),
    )


def _token_kinds(metadata: Metadata, count: int) -> list[int]:
    key = f"{_PREFIX}.token_type"
    if key not in metadata:
        return [_NORMAL] * count
    kinds = metadata.integers(key)
    if len(kinds) != count or not np.isin(kinds, range(_NORMAL, _BYTE + 1)).all():
        raise _contradiction(f"{len(kinds)} token types for {count} tokens, or unknown ones")
    return [int(kind) for kind in kinds]


def _added_tokens(vocabulary: _Vocabulary) -> list[JsonValue]:
    """List the tokens that are cut out of the text before any other step."""
    kinds = vocabulary.kinds
    return [
        added_token(token, index, special=kinds[index] != _USER_DEFINED)
        for index, token in enumerate(vocabulary.tokens)
        if kinds[index] in (_UNKNOWN, _CONTROL, _USER_DEFINED)
    ]


def _special_texts(vocabulary: _Vocabulary) -> dict[str, str]:
    ids = {
        "bos_token": vocabulary.bos,
        "eos_token": vocabulary.eos,
        "unk_token": vocabulary.unknown,
        "pad_token": vocabulary.padding,
    }
    return {name: vocabulary.tokens[index] for name, index in ids.items() if index is not None}


def _contradiction(found: str) -> TokenizerError:
    return TokenizerError(
        f"GGUF tokenizer with {found}",
        wanted="a complete and consistent vocabulary",
        fix="fetch or convert the file again",
    )
