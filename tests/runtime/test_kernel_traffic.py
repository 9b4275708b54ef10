from __future__ import annotations

import pytest
from artifact_samples import sample_manifest

from ferrylm.runtime.kernel_traffic import Argument, StepShape, Tables, Traffic, traffic_of

MODEL, LIBRARY = sample_manifest().model, sample_manifest().libraries[0]
PAGES, PAGE, CONTEXT = 10, 16, 160
TABLES = Tables.of(MODEL, LIBRARY, PAGES, PAGE, CONTEXT)
TOKEN = MODEL.num_kv_heads * MODEL.head_dim * 2  # bytes of a key, or a value, in float16

KEYS = Argument("float16", (PAGES, 2, 16, PAGE))
VALUES = Argument("float16", (PAGES, 2, PAGE, 16))
ROTATION = Argument("float32", (CONTEXT, 8))
DECODE = StepShape(1, 1, 100)


def traffic(name: str, arguments: list[Argument], step: StepShape = DECODE) -> Traffic:
    return traffic_of(name, tuple(arguments), step, TABLES)


def test_a_product_moves_all_its_arguments_and_makes_two_operations_for_each_weight() -> None:
    x, codes = Argument("float32", (1, 64)), Argument("uint8", (48, 2, 16))
    scale, y = Argument("float16", (48, 2)), Argument("float32", (1, 48))
    found = traffic("plain_q4_int16_48x64_batch1", [x, codes, scale, y])
    assert found == Traffic(256 + 1536 + 192 + 192, 2 * 48 * 64, "int16", "product")


@pytest.mark.parametrize(
    ("name", "rows", "arithmetic", "kind"),
    [
        ("normed_plain_q4_int16_6144x4096_batch8", 8, "int16", "head"),
        ("residual_prepared_q4m_int8_48x64_batch4", 4, "int8", "product"),
        ("norm_swiglu_q8_int16_48x64_prefill", 32, "int16", "product"),
        ("plain_f16_f32_64x64_batch1", 1, "f32", "head"),
    ],
)
def test_names_say_what_a_product_computes(
    name: str, rows: int, arithmetic: str, kind: str
) -> None:
    found = traffic(name, [Argument("float32", (1,))], StepShape(1, 32, 0))
    size = {"6144x4096": 6144 * 4096, "48x64": 48 * 64, "64x64": 64 * 64}[name.split("_")[-2]]
    assert (found.operations, found.arithmetic, found.kind) == (2 * rows * size, arithmetic, kind)


def test_the_head_of_a_prompt_takes_one_row() -> None:
    found = traffic("plain_q8_f32_64x64_batch1", [Argument("float32", (1,))], StepShape(1, 32, 5))
    assert found.operations == 2 * 64 * 64


def test_attention_reads_the_tokens_in_use_and_not_the_whole_pool() -> None:
    q, y = Argument("float32", (1, 4, 16)), Argument("float32", (1, 64))
    tables = Argument("int32", (1, 8))
    found = traffic("attention_batch1", [q, KEYS, VALUES, tables, y])
    assert found.bytes_moved == 256 + 2 * 101 * TOKEN + 32 + 256
    assert found.operations == 4 * 4 * 16 * 101
    assert (found.kind, found.arithmetic) == ("attention", "f32")
    assert traffic("attention_f16_prefill", [q, KEYS, VALUES, tables, y]).arithmetic == "f16"


def test_an_append_writes_the_new_tokens_and_reads_their_rows_of_the_rotations() -> None:
    step, qkv = StepShape(2, 1, 100), Argument("float32", (2, 128))
    q = Argument("float32", (2, 4, 16))
    found = traffic("rope_append_batch2", [qkv, ROTATION, ROTATION, KEYS, VALUES, q], step)
    assert found.bytes_moved == 1024 + 2 * 2 * 32 + 2 * 2 * TOKEN + 512
    assert found.operations == 0


def test_a_fused_append_and_attention_does_both() -> None:
    y = Argument("float32", (1, 64))
    partial = Argument("float32", (2, 32, 40))
    for workspace in ([], [partial]):
        found = traffic("rope_attention_batch1", [ROTATION, KEYS, VALUES, *workspace, y])
        assert found.bytes_moved == 32 + 2 * (1 + 101) * TOKEN + 256


def test_merging_reads_partial_results_and_no_pool() -> None:
    partial, y = Argument("float32", (2, 4, 2, 18)), Argument("float32", (1, 64))
    found = traffic("merge_attention_batch1", [partial, y])
    assert (found.bytes_moved, found.operations) == (1152 + 256, 0)


def test_looking_up_reads_the_rows_of_the_tokens() -> None:
    tokens, y = Argument("int32", (8, 4)), Argument("float32", (32, 64))
    codes, scale = Argument("uint8", (64, 32)), Argument("float16", (64, 2))
    step = StepShape(1, 32, 0)
    found = traffic("embed_prefill", [tokens, codes, scale, y], step)
    assert found.bytes_moved == 128 + 32 * (32 + 4) + 32 * 64 * 4
    one, row = Argument("float32", (1, 64)), Argument("int32", (1,))
    assert traffic("select_row_prefill", [y, row, one], step).bytes_moved == 256 + 4 + 256


def test_attention_within_a_window_reads_the_tokens_of_the_window() -> None:
    y = Argument("float32", (1, 64))
    found = traffic("rope_attention_window20_cap50_0_batch1", [KEYS, VALUES, y])
    assert found.bytes_moved == 2 * (1 + 20) * TOKEN + 256
    assert found.operations == 4 * 4 * 16 * 20
    chunk = traffic("attention_window20_prefill", [KEYS, VALUES, y], StepShape(1, 8, 100))
    assert chunk.bytes_moved == 2 * 27 * TOKEN + 256
    assert chunk.operations == 4 * 4 * 16 * 8 * 20


@pytest.mark.parametrize("window", [None, 1, 4, 6, 1000])
@pytest.mark.parametrize("step", [StepShape(1, 1, 0), StepShape(3, 1, 7), StepShape(2, 5, 4)])
def test_pairs_are_those_of_a_causal_mask(step: StepShape, window: int | None) -> None:
    seen = sum(
        1
        for _ in range(step.sequences)
        for row in range(step.depth, step.depth + step.rows)
        for _ in range(min(row + 1, window or row + 1))
    )
    assert step.visible_pairs(window) == seen
