"""Tokenizers rebuilt from GGUF vocabularies encode as the originals do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_source
from tokenizers import Tokenizer

from ferrylm.compile.sources.gguf_metadata import Metadata
from ferrylm.compile.sources.gguf_tokenizer import gguf_tokenizer
from ferrylm.compile.sources.pre_tokenizers import PRE_TOKENIZERS
from ferrylm.compile.sources.source import TokenizerFiles
from ferrylm.errors import TokenizerError

GOLDEN = json.loads((Path(__file__).parent / "sentencepiece_ids.json").read_text("utf-8"))


def _metadata(values: dict[str, Any]) -> Metadata:
    """Make metadata as the header reader would: arrays of numbers as numpy arrays."""
    return Metadata(
        {
            key: np.array(value)
            if isinstance(value, list) and not isinstance(value[0], str)
            else value
            for key, value in values.items()
        }
    )


def _byte_level(**changes: Any) -> TokenizerFiles:
    files = gguf_tokenizer(_metadata(tiny_source.gguf_metadata(**changes)), tiny_source.VOCAB)
    assert files is not None
    return files


def _sentencepiece(**changes: Any) -> TokenizerFiles:
    values = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": GOLDEN["pieces"],
        "tokenizer.ggml.scores": GOLDEN["scores"],
        "tokenizer.ggml.token_type": GOLDEN["kinds"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        **changes,
    }
    files = gguf_tokenizer(_metadata(values), 1000)
    assert files is not None
    return files


def _encode(files: TokenizerFiles, text: str, special: bool = False) -> list[int]:
    ids: list[int] = (
        Tokenizer.from_str(files.tokenizer_json).encode(text, add_special_tokens=special).ids
    )
    return ids


def _tokens(files: TokenizerFiles, text: str) -> list[str]:
    tokens: list[str] = Tokenizer.from_str(files.tokenizer_json).encode(text).tokens
    return tokens


def test_sentencepiece_ids_are_those_of_sentencepiece() -> None:
    tokenizer = Tokenizer.from_str(_sentencepiece().tokenizer_json)
    assert len(GOLDEN["texts"]) > 200
    for case in GOLDEN["texts"]:
        assert tokenizer.encode(case["text"], add_special_tokens=False).ids == case["ids"], case[
            "text"
        ]


def test_sentencepiece_ids_decode_to_their_text() -> None:
    tokenizer = Tokenizer.from_str(_sentencepiece().tokenizer_json)
    for case in GOLDEN["texts"]:
        assert tokenizer.decode(case["ids"]) == case["decoded"], case["text"]


def test_sentencepiece_begins_with_bos_by_default_and_not_if_told_so() -> None:
    files = _sentencepiece()
    assert files.add_bos
    assert _encode(files, "the", special=True) == [1, *_encode(files, "the")]
    silent = _sentencepiece(**{"tokenizer.ggml.add_bos_token": False})
    assert not silent.add_bos
    assert _encode(silent, "the", special=True) == _encode(files, "the")


def test_space_prefix_can_be_turned_off() -> None:
    files = _sentencepiece(**{"tokenizer.ggml.add_space_prefix": False})
    assert _tokens(files, "the")[-1][0] != "\u2581"
    assert _encode(files, " the") == _encode(_sentencepiece(), "the")


def test_user_defined_and_control_tokens_are_found_in_text() -> None:
    files = _sentencepiece()
    turn = GOLDEN["pieces"].index("<turn>")
    assert _encode(files, "<turn>") == [turn]
    assert _encode(files, "<s>") == [1]


def test_a_very_long_sentencepiece_piece_is_refused() -> None:
    pieces = [*GOLDEN["pieces"][:-1], "x" * 5000]
    with pytest.raises(TokenizerError, match="5000 characters"):
        _sentencepiece(**{"tokenizer.ggml.tokens": pieces})


def test_byte_level_merges_apply_in_order() -> None:
    assert _tokens(_byte_level(), "hello wor") == ["hello", "\u0120wor"]
    assert _tokens(_byte_level(), "hell he") == ["hell", "\u0120", "he"]


@pytest.mark.parametrize("name", sorted(PRE_TOKENIZERS))
def test_every_pre_tokenizer_keeps_any_text(name: str) -> None:
    tokenizer = Tokenizer.from_str(_byte_level(**{"tokenizer.ggml.pre": name}).tokenizer_json)
    for text in (
        "Hello, World's \u00c4rger  \t\n\r\n 12345 67",
        "\u4f60\u597d\U0001f600 \u0915\u094d\u0937 \u200d\x00\x7f",
        "   leading and trailing   ",
    ):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


WORDS = {
    "gpt-2": ["A", "1234", "'s", "\u0120x", "!!", "\u010a\u010a"],
    "smollm": ["A", "1", "2", "3", "4", "'s", "\u0120x", "!!", "\u010a\u010a"],
    "llama-bpe": ["A", "123", "4", "'s", "\u0120x", "!!\u010a\u010a"],
    "qwen2": ["A", "1", "2", "3", "4", "'s", "\u0120x", "!!\u010a\u010a"],
    "tekken": ["A", "1", "2", "3", "4", "'s", "\u0120x", "!!\u010a\u010a"],
    "default": ["A", "123", "4", "'", "s", "\u0120x", "!!", "\u010a\u010a"],
}


@pytest.mark.parametrize("name", sorted(WORDS))
def test_pre_tokenizer_cuts_text_into_its_familys_words(name: str) -> None:
    files = _byte_level(**{"tokenizer.ggml.pre": name})
    pre = Tokenizer.from_str(files.tokenizer_json).pre_tokenizer
    words = [word for word, _ in pre.pre_tokenize_str("A1234's x!!\n\n")]
    assert words == WORDS[name]


def test_llama3_takes_a_whole_word_that_is_a_token_whatever_the_merges_say() -> None:
    tokens = [*tiny_source.TOKENS, "xyz"]
    kinds = [3] * 3 + [1] * (len(tokens) - 3)
    changes = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds}
    llama3 = _byte_level(**changes, **{"tokenizer.ggml.pre": "llama-bpe"})
    assert _tokens(llama3, "xyz")[-1] == "xyz"
    assert llama3.add_bos
    assert _tokens(_byte_level(**changes), "xyz") == ["x", "y", "z"]


def test_qwen2_composes_characters_first() -> None:
    qwen = _byte_level(**{"tokenizer.ggml.pre": "qwen2"})
    assert _encode(qwen, "e\u0301") == _encode(qwen, "\u00e9")
    assert _encode(_byte_level(), "e\u0301") != _encode(_byte_level(), "\u00e9")


def test_generation_stops_at_eos_and_at_the_end_of_a_chat_turn() -> None:
    assert _byte_level().eos_token_ids == (2,)
    assert _byte_level(**{"tokenizer.ggml.eos_token_id": 0}).eos_token_ids == (0, 2)
    assert _byte_level(**{"tokenizer.ggml.eot_token_id": 1}).eos_token_ids == (1, 2)


def test_an_ordinary_token_that_looks_like_a_stop_is_none() -> None:
    kinds = [3, 3, 1] + [1] * (len(tiny_source.TOKENS) - 3)
    changes = {"tokenizer.ggml.token_type": kinds, "tokenizer.ggml.eos_token_id": 0}
    assert _byte_level(**changes).eos_token_ids == (0,)


def test_special_tokens_and_template_are_passed_on() -> None:
    files = _byte_level(**{"tokenizer.ggml.padding_token_id": 1})
    assert files.chat_template == tiny_source.TEMPLATE
    assert files.bos_token_id == 0
    assert files.special_tokens == {
        "bos_token": "<s>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_start|>",
    }


def test_byte_level_begins_with_bos_if_told_so() -> None:
    files = _byte_level(**{"tokenizer.ggml.add_bos_token": True})
    assert _encode(files, "he", special=True) == [0, *_encode(files, "he")]
    assert not _byte_level().add_bos


def test_a_file_without_vocabulary_has_no_tokenizer() -> None:
    assert gguf_tokenizer(_metadata({"tokenizer.ggml.model": "no_vocab"}), 10) is None
    assert gguf_tokenizer(_metadata({}), 10) is None


def test_unused_tokens_cannot_be_produced_by_text() -> None:
    tokens = [*tiny_source.TOKENS, "xyz", "xyz"]
    kinds = [3] * 3 + [1] * (len(tokens) - 5) + [5, 5]
    files = _byte_level(
        **{
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": kinds,
            "tokenizer.ggml.pre": "llama-bpe",
            "tokenizer.ggml.add_bos_token": False,
        }
    )
    assert _tokens(files, "xyz") == ["x", "y", "z"]
