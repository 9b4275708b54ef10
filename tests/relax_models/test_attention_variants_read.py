"""How a layer attends, read off the configurations that transformers writes."""

from __future__ import annotations

from typing import Any

import pytest

from ferrylm.errors import UnsupportedModelError
from ferrylm.relax_models.attention_variants import attention_variants
from ferrylm.runtime.manifest import PLAIN_ATTENTION, AttentionVariant

CONTEXT = 8192
MISTRAL: dict[str, Any] = {
    "model_type": "mistral",
    "num_hidden_layers": 4,
    "head_dim": 128,
    "sliding_window": 4096,
}
WINDOW = AttentionVariant(window_tokens=4096)


def windows(**changes: Any) -> list[int | None]:
    found = attention_variants({**MISTRAL, **changes}, CONTEXT)
    return [variant.window_tokens for variant in found]


def test_all_layers_of_mistral_have_the_window_where_the_context_is_longer() -> None:
    assert attention_variants(MISTRAL, CONTEXT) == (WINDOW,) * 4
    assert attention_variants(MISTRAL, 4097) == (WINDOW,) * 4
    assert attention_variants(MISTRAL, 4096) == ()
    assert attention_variants({**MISTRAL, "sliding_window": None}, CONTEXT) == ()


def test_the_first_layers_of_qwen_see_everything() -> None:
    qwen = {"model_type": "qwen2", "max_window_layers": 3}
    assert windows(**qwen) == [None, None, None, 4096]
    assert windows(**{**qwen, "max_window_layers": 4}) == []
    assert windows(**{**qwen, "max_window_layers": 0}) == [4096] * 4


def test_layer_types_count_more_than_what_a_family_does() -> None:
    kinds = ["full_attention", "sliding_attention", "full_attention", "full_attention"]
    for family in ("mistral", "qwen2", "gemma2"):
        found = windows(model_type=family, layer_types=kinds)
        assert found == [None, 4096, None, None]


def test_gemma_2_has_a_window_in_every_other_layer_a_cap_and_a_scale() -> None:
    gemma = {
        "model_type": "gemma2",
        "attn_logit_softcapping": 50.0,
        "query_pre_attn_scalar": 256,
        "layer_types": None,
    }
    found = attention_variants({**MISTRAL, **gemma}, CONTEXT)
    assert [variant.window_tokens for variant in found] == [4096, None, 4096, None]
    assert all(variant.soft_cap == 50.0 for variant in found)
    assert all(variant.score_scale == 1 / 16 for variant in found)
    short = attention_variants({**MISTRAL, **gemma}, 4096)
    assert short == (AttentionVariant(soft_cap=50.0, score_scale=1 / 16),) * 4


def test_a_scale_that_is_the_usual_one_is_none() -> None:
    config = {**MISTRAL, "sliding_window": None, "query_pre_attn_scalar": 128}
    assert attention_variants(config, CONTEXT) == ()
    assert PLAIN_ATTENTION.scale(64) == 1 / 8


BROKEN: dict[str, dict[str, Any]] = {
    "too few layer types": {"layer_types": ["full_attention"]},
    "unknown layer types": {"layer_types": ["linear_attention"] * 4},
    "layer types that are no list": {"layer_types": "full"},
    "layer types that are lists": {"layer_types": [[]] * 4},
    "Qwen without max_window_layers": {"model_type": "qwen2"},
    "layers below 0": {"model_type": "qwen2", "max_window_layers": -1},
    "layers that are true": {"model_type": "qwen2", "max_window_layers": True},
    "a cap of 0": {"attn_logit_softcapping": 0},
    "a cap below 0": {"attn_logit_softcapping": -50.0},
    "a cap without bound": {"attn_logit_softcapping": float("inf")},
    "a cap that is no number": {"attn_logit_softcapping": float("nan")},
    "a cap that is a text": {"attn_logit_softcapping": "50"},
    "a scalar that is true": {"query_pre_attn_scalar": True},
}


@pytest.mark.parametrize("changes", BROKEN.values(), ids=BROKEN.keys())
def test_what_no_model_says_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModelError, match="a configuration with"):
        attention_variants({**MISTRAL, **changes}, CONTEXT)
