"""scripts/shorten_model.py: the first layers and tokens of a model are a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ferrylm.compile.sources import open_source
from ferrylm.errors import UsageError
from scripts.shorten_model import short_tokenizer, shorten
from tests.engine.tiny_sources import TinySource

TOKENIZER = {
    "model": {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "bc": 5},
        "merges": ["a b", ["ab", "c"], "b c"],
    },
    "added_tokens": [{"id": 2, "content": "c"}, {"id": 6, "content": "<end>"}],
}


def test_the_first_tokens_keep_their_numbers_and_lose_later_merges() -> None:
    short = short_tokenizer(TOKENIZER, 4)
    assert short["model"]["vocab"] == {"a": 0, "b": 1, "c": 2, "ab": 3}
    assert short["model"]["merges"] == [["a", "b"]]
    assert [one["id"] for one in short["added_tokens"]] == [2]
    assert len(TOKENIZER["model"]["merges"]) == 3  # type: ignore[index]


def test_another_kind_of_tokenizer_is_refused() -> None:
    with pytest.raises(UsageError, match="'Unigram'"):
        short_tokenizer({"model": {"type": "Unigram"}}, 4)


def test_a_shortened_model_has_the_weights_of_the_whole(tmp_path: Path) -> None:
    TinySource(layers=3, vocabulary=300).write(tmp_path / "whole")
    with open_source(tmp_path / "whole") as whole:
        shorten(whole, tmp_path / "short", layers=2, tokens=280)
        with open_source(tmp_path / "short") as short:
            assert (short.config["num_hidden_layers"], short.config["vocab_size"]) == (2, 280)
            kept = {name for name in whole.tensors if "layers.2." not in name}
            assert set(short.tensors) == kept
            for name in kept:
                wanted = whole.tensors[name].dequantize()
                found = short.tensors[name].dequantize()
                if name == "model.embed_tokens.weight":
                    assert len(found) == 280
                np.testing.assert_array_equal(
                    found, wanted[: len(found)].astype(np.float16).astype(np.float32)
                )


def test_more_layers_than_there_are_are_refused(tmp_path: Path) -> None:
    TinySource().write(tmp_path / "whole")
    with open_source(tmp_path / "whole") as whole:
        with pytest.raises(UsageError, match="num_hidden_layers = 3"):
            shorten(whole, tmp_path / "short", layers=3, tokens=272)
        with pytest.raises(UsageError, match="vocab_size = 0"):
            shorten(whole, tmp_path / "short", layers=1, tokens=0)
    assert not (tmp_path / "short").exists()
