"""What attention in float16 may be off by: more than in float32, and less than a token."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import pytest
from artifact_samples import sample_manifest

from ferrylm.compile import golden_cases
from ferrylm.compile.golden_cases import CACHE_TOLERANCE, HALVES_TOLERANCE, kernel_case
from ferrylm.compile.golden_cases import kernel_check as check_of
from ferrylm.compile.golden_functions import CheckFunction
from ferrylm.compile.golden_recording import Operation
from ferrylm.compile.golden_reference import attend, rotate
from ferrylm.runtime import golden_inputs as inputs
from ferrylm.runtime.comparison import compare
from ferrylm.runtime.golden_format import KernelCase, expected_values
from ferrylm.runtime.manifest import AttentionVariant, ModelConfig, RopeConfig

Array = np.ndarray
PREFILL = Operation("rope_attention", None)


def config_of(heads: int, kv_heads: int, head_dim: int) -> ModelConfig:
    return replace(
        sample_manifest().model,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        context_length=2048,
        rope=RopeConfig("default", 10000.0, {}),
    )


def halves_attention(case: KernelCase, config: ModelConfig, *, unseen: int = 0) -> Array:
    """Compute the case with queries and weights in float16; `unseen` tokens are left out."""
    heads, kv_heads, dim = config.num_heads, config.num_kv_heads, config.head_dim
    rows = inputs.prefill_rows(case.rows, config.context_length)
    first = inputs.prefill_start(rows, config.context_length)
    positions = list(range(first, first + rows))
    qkv = inputs.plain(case.name + " qkv", (case.rows, case.width))[:rows].astype(np.float64)
    split = qkv.reshape(rows, heads + 2 * kv_heads, dim)
    query, key = (
        rotate(part, positions, config.rope, config.context_length)
        for part in (split[:, :heads], split[:, heads : heads + kv_heads])
    )
    query = (query / math.sqrt(dim) * math.log2(math.e)).astype(np.float16).astype(np.float64)
    past = [inputs.past(case.name, what, 0, first, kv_heads, dim) for what in ("keys", "values")]
    keys = np.concatenate([past[0], key.astype(np.float16)]).astype(np.float64)
    values = np.concatenate([past[1], split[:, heads + kv_heads :]])
    found = np.empty((rows, heads, dim))
    for row in range(rows):
        seen = slice(unseen, first + row + 1)
        for head in range(heads):
            scores = keys[seen, head * kv_heads // heads] @ query[row, head]
            weights = np.exp2(scores - scores.max() + 14)
            rounded = weights.astype(np.float16).astype(np.float64)
            found[row, head] = rounded @ values[seen, head * kv_heads // heads] / weights.sum()
    return found.reshape(rows, -1)


@pytest.mark.parametrize("heads", [(9, 3, 64), (14, 2, 64), (32, 8, 128), (8, 8, 80)], ids=str)
def test_rounded_queries_and_weights_pass_and_a_missing_token_does_not(
    heads: tuple[int, int, int],
) -> None:
    config = config_of(*heads)
    case = kernel_case(PREFILL, config, {"f16"}, {"float16"})
    found = halves_attention(case, config)
    wanted, tolerance = expected_values(case, "float16 f16", found.shape)
    assert tolerance == HALVES_TOLERANCE
    assert 0.2 < compare(found, wanted, tolerance, "output").worst < 0.8
    assert compare(found, wanted, CACHE_TOLERANCE["float16"], "output").worst > 0.8
    missing = halves_attention(case, config, unseen=1)
    assert compare(missing, wanted, tolerance, "output").worst > 10


def test_only_a_library_that_rounds_may_be_off_by_more() -> None:
    config = config_of(8, 2, 64)
    case = kernel_case(PREFILL, config, {"f16", "f32"}, {"float16", "float32"})
    assert {name: expected.tolerance for name, expected in case.expected.items()} == {
        "float16": 1e-3, "float16 keys": 1e-3, "float16 values": 1e-3, "float16 f16": 3e-3,
        "float32": 1e-4, "float32 keys": 1e-4, "float32 values": 1e-4,
    }  # fmt: skip
    for arithmetic, wanted in (("f32", "float16"), ("f16", "float16 f16")):
        function = CheckFunction("check_0", PREFILL, arithmetic, ("attention",), 768, 0, ())
        assert check_of(function, "float16").expected == wanted


WRONG = {
    "a window of one token more": ({"window_tokens": 16}, {"window_tokens": 17}),
    "a window of one token less": ({"window_tokens": 16}, {"window_tokens": 15}),
    "a longer window that is left out": ({"window_tokens": 300}, {}),
    "a cap that is left out": ({"soft_cap": 3.0}, {}),
    "slopes that are left out": ({"alibi": True}, {}),
    "sinks that are left out": ({"sinks": True}, {}),
    "another scale": ({"score_scale": 0.15}, {}),
}


@pytest.mark.parametrize("batch", [None, 1], ids=["prefill", "decode"])
@pytest.mark.parametrize(("right", "wrong"), WRONG.values(), ids=WRONG.keys())
def test_a_variant_that_is_computed_as_another_shows(
    right: dict[str, Any], wrong: dict[str, Any], batch: int | None
) -> None:
    config = config_of(4, 2, 32)
    operation = Operation("rope_attention", batch, variant=AttentionVariant(**right))
    case = kernel_case(operation, config, {"f32"}, {"float16"})
    assert case.variant == AttentionVariant(**right)
    with mock.patch.object(golden_cases, "attend", partial(attended_as, AttentionVariant(**wrong))):
        other = kernel_case(operation, config, {"f32"}, {"float16"})
    shape = case.expected["float16"].values.shape
    wanted, _ = expected_values(case, "float16", shape)
    found, _ = expected_values(other, "float16", shape)
    assert compare(wanted, found, HALVES_TOLERANCE, "output").worst > 3


def attended_as(variant: AttentionVariant, *arguments: Any) -> Array:
    """Compute attention of another variant than the one that is asked for."""
    query, keys, values, _, sinks = arguments
    return attend(query, keys, values, variant, sinks if variant.sinks else None)


def test_a_windows_end_is_reached_where_it_can_be() -> None:
    for window, context in ((16, 64), (300, 2048), (4096, 8192), (4096, 4100), (50_000, 131_072)):
        positions = inputs.decode_positions(12, context, window)
        assert max(positions) < min(context, inputs.MOST_WINDOW + 100)
        reached = window < context and window <= inputs.MOST_WINDOW
        assert (max(positions) >= window) == reached
        last = inputs.prefill_start(11, context, window) + 10
        assert (last >= window) == reached
        assert last < context
