"""The golden kernel vectors: from recorded operations to cases with expected numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ferrylm.compile.golden_draw_reference import drawn_tokens
from ferrylm.compile.golden_functions import CheckFunction
from ferrylm.compile.golden_recording import Operation
from ferrylm.compile.golden_reference import (
    attend,
    decode,
    gelu,
    norm_factors,
    norm_heads,
    product,
    rotate,
    silu,
)
from ferrylm.runtime import golden_inputs as inputs
from ferrylm.runtime.golden_draws import DRAW_ROWS
from ferrylm.runtime.golden_format import (
    Expected,
    GoldenMatrix,
    KernelCase,
    KernelCheck,
    golden_array,
)
from ferrylm.runtime.manifest import AttentionVariant, ModelConfig

Float64 = NDArray[np.float64]

ROWS = 12  # of activations; a part of the largest batch, and not whole row tiles of prefill

# Of an element's magnitude plus its row's root mean square; docs/verify.md has the reasons.
TOLERANCE = {"f32": 1e-4, "int8": 3e-4, "int16": 3e-4, "f16": 2e-3}
# Of a gated product of float16 weights as they are: a gate and a factor that are several times one,
# each off by 2e-4 of that, multiply.
GATED_TOLERANCE = 5e-3
CACHE_TOLERANCE = {"float16": 1e-3, "float32": 1e-4}
HALVES_TOLERANCE = 3e-3  # of attention whose queries and weights round to float16
DECODED_TOLERANCE = 1e-6
EXACT = 1e-9  # of tokens


def case_name(operation: Operation) -> str:
    """Return the name of an operation, whatever the batch: what all targets have in common."""
    matrix = operation.matrix
    if matrix is None:
        return _case_operation(operation) + _variant_words(operation.variant)
    minimum = " with minimum" if matrix.minimum else ""
    kind = f"{operation.kind} {operation.epilogue}".strip()
    return f"{kind} {matrix.rows}x{matrix.columns} {matrix.storage}{minimum}"


def _variant_words(variant: AttentionVariant) -> str:
    """Return what a variant adds to the name of a case; it decides about the inputs, too."""
    words = []
    if variant.window_tokens is not None:
        words.append(f" window {variant.window_tokens}")
    if variant.soft_cap is not None:
        words.append(f" cap {variant.soft_cap!r}")
    if variant.score_scale is not None:
        words.append(f" scale {variant.score_scale!r}")
    flags = ("alibi", "sinks", "local_rope")
    return "".join([*words, *(f" {x}" for x in flags if getattr(variant, x))])


def kernel_case(
    operation: Operation, config: ModelConfig, arithmetics: set[str], kv_dtypes: set[str]
) -> KernelCase:
    """Compute what an operation must give, in each arithmetic that some library has."""
    name, kind = case_name(operation), _case_operation(operation)
    matrix, expected = operation.matrix, {}
    width = operation.width
    if matrix is not None:
        width = matrix.columns
        if kind == "embed":
            expected["f32"] = _embed(name, matrix)
        else:
            for arithmetic in sorted(arithmetics):
                expected[arithmetic] = _matmul(name, operation, matrix, arithmetic, config)
    elif kind == "draw":
        tokens = golden_array(drawn_tokens(name, width))
        return KernelCase(name, kind, None, "", width, DRAW_ROWS, {"f32": Expected(EXACT, tokens)})
    elif kind in ("rope_decode", "rope_prefill"):
        width = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
        for dtype in sorted(kv_dtypes):
            expected |= _attention(name, kind, config, dtype, operation.variant)
            if dtype == "float16" and "f16" in arithmetics:
                expected[f"{dtype} f16"] = replace(expected[dtype], tolerance=HALVES_TOLERANCE)
    return KernelCase(
        name, kind, matrix, operation.epilogue, width, ROWS, expected, operation.variant
    )


def kernel_check(function: CheckFunction, kv_dtype: str) -> KernelCheck:
    """Say how a library computes a case."""
    operation = function.operation
    kind, expected = _case_operation(operation), function.arithmetic or "f32"
    if kind in ("rope_decode", "rope_prefill"):
        expected = f"{kv_dtype} f16" if function.arithmetic == "f16" else kv_dtype
    return KernelCheck(
        case=case_name(operation),
        function=function.name,
        kernels=function.kernels,
        batch=operation.batch,
        expected=expected,
        input_width=function.input_width,
        residual_width=function.residual_width,
        parameters=function.parameters,
    )


def _case_operation(operation: Operation) -> str:
    if operation.kind != "rope_attention":
        return operation.kind
    return "rope_prefill" if operation.batch is None else "rope_decode"


def _embed(name: str, matrix: GoldenMatrix) -> Expected:
    table = decode(inputs.prototypes(name, matrix), matrix.columns)
    tokens = inputs.tokens(name, ROWS, matrix.rows)
    rows = inputs.prototype_rows(name, matrix)[tokens]
    return Expected(DECODED_TOLERANCE, golden_array(table[rows]))


def _matmul(
    name: str, operation: Operation, matrix: GoldenMatrix, arithmetic: str, config: ModelConfig
) -> Expected:
    """Return [ROWS, PROTOTYPES]: the outputs of the different rows of the matrix."""
    weights = decode(inputs.prototypes(name, matrix), matrix.columns)
    x = inputs.activations(name + " x", ROWS, matrix.columns).astype(np.float64)
    factors = None
    if operation.kind == "norm_linear":
        factors = norm_factors(x, operation.eps)
        x = x * inputs.gains(name + " gain", matrix.columns)
    y = product(x, factors, weights, arithmetic)
    if matrix.pairs:
        gate = gelu if operation.epilogue == "geglu" else silu
        y = gate(y[:, : inputs.PROTOTYPES]) * y[:, inputs.PROTOTYPES :]
    elif operation.epilogue == "capped" and config.logit_cap is not None:
        y = config.logit_cap * np.tanh(y / config.logit_cap)
    elif operation.epilogue == "post_norm":
        whole = y[:, inputs.prototype_rows(name, matrix)]
        y = y * norm_factors(whole, operation.eps)
        y = y * inputs.gains(name + " post gain", inputs.PROTOTYPES)
        y = y + inputs.plain(name + " residual", y.shape)
    elif operation.epilogue == "residual":
        y = y + inputs.plain(name + " residual", y.shape)
    elif operation.epilogue == "bias":
        y = y + inputs.plain(name + " bias", (inputs.PROTOTYPES,))
    tolerance = TOLERANCE[arithmetic]
    if arithmetic == "f16" and matrix.pairs and matrix.storage == "f16":
        tolerance = GATED_TOLERANCE
    return Expected(tolerance, golden_array(y))


def _attention(
    name: str, kind: str, config: ModelConfig, kv_dtype: str, variant: AttentionVariant
) -> dict[str, Expected]:
    """Return the output of each row, and the key and value that each appends."""
    heads, kv_heads, dim = config.num_heads, config.num_kv_heads, config.head_dim
    one_sequence, window = kind == "rope_prefill", variant.window_tokens
    rows = inputs.prefill_rows(ROWS, config.context_length) if one_sequence else ROWS
    first = inputs.prefill_start(rows, config.context_length, window)
    positions = (
        list(range(first, first + rows))
        if one_sequence
        else inputs.decode_positions(rows, config.context_length, window)
    )
    sinks = inputs.sinks(name, heads) if variant.sinks else None
    width = (heads + 2 * kv_heads) * dim
    qkv = inputs.plain(name + " qkv", (ROWS, width))[:rows].astype(np.float64)
    split = qkv.reshape(rows, heads + 2 * kv_heads, dim)
    if config.head_norm:
        gains = inputs.gains(name + " gains", 2 * dim)
        for part, gain in ((slice(heads), gains[:dim]), (slice(heads, -kv_heads), gains[dim:])):
            split[:, part] = norm_heads(split[:, part], gain, config.norm_eps)
    rope = config.rope_of(variant)
    query = rotate(split[:, :heads], positions, rope, config.context_length)
    key = rotate(split[:, heads : heads + kv_heads], positions, rope, config.context_length)
    key, value = key.astype(kv_dtype).astype(np.float64), split[:, heads + kv_heads :]
    output = np.empty((rows, heads, dim))
    for row in range(rows):
        sequence, own = (0, row) if one_sequence else (row, 0)
        past = positions[row] - own
        before = slice(row - own, row + 1)
        output[row] = attend(
            query[row],
            np.concatenate([inputs.past(name, "keys", sequence, past, kv_heads, dim), key[before]]),
            np.concatenate(
                [inputs.past(name, "values", sequence, past, kv_heads, dim), value[before]]
            ),
            variant,
            sinks,
        )
    tolerance = CACHE_TOLERANCE[kv_dtype]
    return {
        kv_dtype: Expected(tolerance, golden_array(output.reshape(rows, -1))),
        f"{kv_dtype} keys": Expected(tolerance, golden_array(key.reshape(rows, -1))),
        f"{kv_dtype} values": Expected(tolerance, golden_array(value.reshape(rows, -1))),
    }
