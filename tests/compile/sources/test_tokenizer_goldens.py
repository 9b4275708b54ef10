"""The tokenizer rebuilt from SmolLM2's GGUF file encodes as Hugging Face's does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from ferrylm.compile.sources import Source, open_source

pytestmark = pytest.mark.model

GOLDEN = Path(__file__).parents[2] / "golden" / "smollm2_token_ids.json"


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads(GOLDEN.read_text("utf-8"))


@pytest.fixture(scope="module")
def source() -> Iterator[Source]:
    path = os.environ.get("FERRY_TEST_GGUF")
    if not path:
        pytest.skip("FERRY_TEST_GGUF names no SmolLM2 GGUF file")
    with open_source(Path(path)) as opened:
        yield opened


@pytest.fixture(scope="module")
def tokenizer(source: Source) -> Tokenizer:
    assert source.tokenizer is not None
    return Tokenizer.from_str(source.tokenizer.tokenizer_json)


def test_texts_become_the_same_ids(golden: Any, tokenizer: Tokenizer) -> None:
    assert len(golden["texts"]) > 200
    for case in golden["texts"]:
        ids = tokenizer.encode(case["text"], add_special_tokens=case["add_special_tokens"]).ids
        assert ids == case["ids"], case["text"]


def test_rendered_chats_become_the_same_ids(golden: Any, tokenizer: Tokenizer) -> None:
    assert golden["chats"]
    for case in golden["chats"]:
        assert tokenizer.encode(case["text"], add_special_tokens=False).ids == case["ids"]


def test_special_ids_are_smollm2s(source: Source) -> None:
    assert source.tokenizer is not None
    assert source.tokenizer.bos_token_id == 1
    assert source.tokenizer.eos_token_ids == (0, 2)
    assert not source.tokenizer.add_bos
    assert source.tokenizer.special_tokens["eos_token"] == "<|im_end|>"


def test_config_is_smollm2s(source: Source) -> None:
    expected = {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100000.0,
        "rope_scaling": None,
        "tie_word_embeddings": True,
    }
    assert {key: source.config[key] for key in expected} == expected
    assert len(source.tensors) == 272
