"""Functions of a library that run one operation of the model alone, so that it can be checked.

Which operations there are is not listed anywhere: `RecordingKernels` stands between the model and
its kernels and writes down what the model asks for. Each distinct operation then becomes a small
function `check_N`, which calls the very kernels that the steps call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax
from tvm.relax.frontend import nn

from ferrylm.compile.golden_recording import Operation, RecordingKernels
from ferrylm.errors import CompileError
from ferrylm.relax_models.step import DrawState, Step, draw_tensors
from ferrylm.runtime.golden_draws import DRAW_ROWS
from ferrylm.runtime.golden_format import PackedTensor
from ferrylm.runtime.kv_layout import key_shape, value_shape
from ferrylm.runtime.manifest import ModelConfig
from ferrylm.schedules.attention_layer import LayerAttention
from ferrylm.schedules.post_norm import PostNorm

Tensor = Any

_STEPS = ("prefill", "score", "decode_", "generate_")


@dataclass(frozen=True)
class CheckFunction:
    """A function of the library, what it computes, and how its arguments look.

    `arithmetic` is that of its product or attention, "" where there is none.
    """

    name: str
    operation: Operation
    arithmetic: str
    kernels: tuple[str, ...]
    input_width: int
    residual_width: int
    parameters: tuple[PackedTensor, ...]


def add_check_functions(
    module: Any, kernels: RecordingKernels, config: ModelConfig
) -> tuple[Any, tuple[CheckFunction, ...]]:
    """Return the module with a function for each recorded operation, and their descriptions.

    Raises CompileError for a kernel of a step that none of them calls.
    """
    builder = relax.BlockBuilder(module)
    checks: list[CheckFunction] = []
    for operation, widths in list(kernels.operations.items()):
        name = f"check_{len(checks)}"
        parameters = _emit(builder, name, operation, widths, kernels, config)
        called = _called_kernels(builder.get()[name])
        arithmetic = _arithmetic(operation, kernels)
        checks.append(CheckFunction(name, operation, arithmetic, called, *widths, parameters))
    _check_coverage(builder.get(), checks)
    return builder.get(), tuple(checks)


def _arithmetic(operation: Operation, kernels: RecordingKernels) -> str:
    found, rows = "", kernels.recorded.rows(operation.batch)
    if operation.kind == "rope_attention":
        found = kernels.recorded.attention_arithmetic(rows, operation.variant)
    elif operation.matrix is not None and operation.kind != "embed":
        storage, columns = operation.matrix.storage, operation.matrix.columns
        found = kernels.recorded.product_arithmetic(rows, storage, columns)
    return found


def _check_coverage(module: Any, checks: Sequence[CheckFunction]) -> None:
    """Refuse a model with a kernel that nothing would check."""
    called: set[str] = set()
    for name, function in module.functions_items():
        if isinstance(function, relax.Function) and name.name_hint.startswith(_STEPS):
            called.update(_called_kernels(function))
    uncovered = called.difference(*(check.kernels for check in checks))
    if uncovered:
        raise CompileError(
            f"kernels without golden data: {', '.join(sorted(uncovered))}",
            wanted="a golden case for every kernel of a step",
            fix="have RecordingKernels record the operation that calls them",
        )


def _emit(
    builder: Any,
    name: str,
    operation: Operation,
    widths: tuple[int, int],
    kernels: RecordingKernels,
    config: ModelConfig,
) -> tuple[PackedTensor, ...]:
    target = kernels.recorded
    rows = target.rows(operation.batch)
    # The first argument is there to say how many tiles of rows there are.
    if operation.batch is None:
        tiles: Any = tvm.tirx.Var("tiles", "int64")
        count = tiles * rows.tile
    else:
        tiles, count = operation.batch // rows.tile, operation.batch
    inputs = _Inputs()
    tokens = inputs.add("tokens", (tiles, rows.tile), "int32")
    matrix, packed = _matrix(operation, kernels, inputs)
    arguments = _arguments(operation, inputs, count, widths, config, kernels)

    def call() -> Tensor:
        if operation.kind == "embed":
            return target.embed(rows, tokens, matrix)
        if operation.kind == "norm_linear":
            x, gain, *added = arguments
            bias, cap = added[0] if added else None, config.logit_cap or 0.0
            found = target.norm_linear(
                rows, x, gain, matrix, operation.eps, operation.epilogue, bias, cap
            )
            pairs = operation.matrix is not None and operation.matrix.pairs
            outputs = matrix.fmt.rows // (2 if pairs else 1)
            return target.expose(rows, found, outputs)
        if operation.kind == "linear":
            x, residual, *gain = arguments
            post = PostNorm(gain[0], operation.eps) if gain else None
            return target.checked_linear(rows, x, matrix, residual, post)
        if operation.kind == "select_row":
            return target.select_row(rows, *arguments, operation.width)
        if operation.kind == "draw":
            logits, positions, *state = arguments
            step = Step(rows, tokens, positions, None, None, None, [], [])
            return target.draw(operation.width, logits, step, DrawState(*state))
        qkv, cos, sin, positions, tables, keys, values, *vectors = arguments
        step = Step(rows, tokens, positions, tables, cos, sin, [keys], [values])
        gains = vectors[0] if config.head_norm else None
        sinks = vectors[-1] if operation.variant.sinks else None
        layer = LayerAttention(operation.variant, gains, sinks)
        found = target.rope_attention(rows, qkv, step, keys, values, layer)
        return target.expose(rows, found, config.num_heads * config.head_dim)

    with builder.function(name, inputs.variables):
        with builder.dataflow():
            output = builder.emit_output(call()._expr)
        builder.emit_func_output(output)
    return packed


class _Inputs:
    """The parameters of a function that is being made, in order."""

    def __init__(self) -> None:
        self.variables: list[Any] = []

    def add(self, name: str, shape: tuple[Any, ...], dtype: str) -> Tensor:
        variable = relax.Var(name, relax.TensorType(shape, dtype))
        self.variables.append(variable)
        return nn.Tensor(_expr=variable)


def _matrix(
    operation: Operation, kernels: RecordingKernels, inputs: _Inputs
) -> tuple[Any, tuple[PackedTensor, ...]]:
    if operation.matrix is None:
        return None, ()
    matrix = kernels.matrix_like(operation.matrix)
    transforms: Mapping[str, str] = matrix.transforms()
    packed = []
    for suffix, parameter in matrix.named_parameters():
        shape = tuple(int(size) for size in parameter.shape)
        parameter._expr = inputs.add(suffix, shape, str(parameter.dtype))._expr
        packed.append(PackedTensor(suffix, str(parameter.dtype), shape, transforms.get(suffix)))
    return matrix, tuple(packed)


def _arguments(
    operation: Operation,
    inputs: _Inputs,
    count: Any,
    widths: tuple[int, int],
    config: ModelConfig,
    kernels: RecordingKernels,
) -> list[Tensor]:
    if operation.kind == "embed":
        return []
    x = inputs.add("x", (count, widths[0]), "float32")
    if operation.kind == "norm_linear":
        assert operation.matrix is not None, "a norm_linear is recorded with its matrix"
        gain = inputs.add("gain", (operation.matrix.columns,), "float32")
        if operation.epilogue == "bias":
            return [x, gain, inputs.add("bias", (operation.matrix.rows,), "float32")]
        return [x, gain]
    if operation.kind == "linear":
        residual = inputs.add("residual", (count, widths[1]), "float32")
        if operation.epilogue != "post_norm":
            return [x, residual]
        assert operation.matrix is not None, "a linear is recorded with its matrix"
        return [x, residual, inputs.add("post_gain", (operation.matrix.rows,), "float32")]
    if operation.kind == "select_row":
        return [x, inputs.add("row", (1,), "int32")]
    if operation.kind == "draw":
        positions = inputs.add("positions", (count,), "int32")
        slots = tvm.tirx.Var("slot_count", "int64")
        tensors = draw_tensors(operation.width, DRAW_ROWS, slots)
        return [x, positions, *(inputs.add(name, *tensor) for name, tensor in tensors.items())]
    size = {name: tvm.tirx.Var(name, "int64") for name in ("context", "width", "pages", "page")}
    table = (1 if operation.batch is None else operation.batch, size["width"])
    width, dtype = config.rope_width, kernels.shape.kv_dtype
    pages = (size["pages"], config.num_kv_heads, config.head_dim, size["page"])
    vectors = {"gains": 2 * config.head_dim} if config.head_norm else {}
    if operation.variant.sinks:
        vectors["sinks"] = config.num_heads
    return [
        x,
        inputs.add("cos", (size["context"], width), "float32"),
        inputs.add("sin", (size["context"], width), "float32"),
        inputs.add("positions", (count,), "int32"),
        inputs.add("block_tables", table, "int32"),
        inputs.add("keys", key_shape(kernels.kv_layout, *pages), dtype),
        inputs.add("values", value_shape(kernels.kv_layout, *pages), dtype),
        *(inputs.add(name, (length,), "float32") for name, length in vectors.items()),
    ]


def _called_kernels(function: Any) -> tuple[str, ...]:
    found: dict[str, None] = {}

    def visit(expression: Any) -> None:
        if isinstance(expression, tvm.ir.GlobalVar):
            found[str(expression.name_hint)] = None

    relax.analysis.post_order_visit(function, visit)
    return tuple(found)
