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

from ferrylm.errors import CompileError
from ferrylm.relax_models.step import DrawState, Step, draw_tensors
from ferrylm.runtime.golden_draws import DRAW_ROWS
from ferrylm.runtime.golden_format import GoldenMatrix, PackedTensor
from ferrylm.runtime.kv_layout import key_shape, value_shape
from ferrylm.runtime.manifest import ModelConfig

Tensor = Any

_STEPS = ("prefill", "score", "decode_", "generate_")


@dataclass(frozen=True)
class Operation:
    """One operation as the model asks for it; `batch` is None in prefill."""

    kind: str  # embed, norm_linear, linear, rope_attention, select_row, draw
    batch: int | None
    matrix: GoldenMatrix | None = None
    epilogue: str = ""
    eps: float = 0.0
    width: int = 0


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


class RecordingKernels:
    """Kernels of a target that remember which operations a model asked for."""

    def __init__(self, kernels: Any) -> None:
        self.operations: dict[Operation, tuple[int, int]] = {}  # -> widths of input, residual
        self.recorded = kernels
        self._matrices: dict[int, tuple[Any, GoldenMatrix]] = {}  # the first keeps the id taken
        self._storages: dict[GoldenMatrix, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.recorded, name)

    def matrix(self, storage: Any, *, pairs: bool = False) -> Any:
        """Return the parameters of a matrix, and remember how it is stored."""
        found = self.recorded.matrix(storage, pairs=pairs)
        golden = GoldenMatrix(
            storage.rows, storage.columns, storage.storage, storage.minimum, pairs
        )
        self._matrices[id(found)] = (found, golden)
        self._storages[golden] = storage
        return found

    def matrix_like(self, golden: GoldenMatrix) -> Any:
        """Return new parameters of a matrix that looks like one of the model's."""
        return self.recorded.matrix(self._storages[golden], pairs=golden.pairs)

    def embed(self, rows: Any, tokens: Tensor, table: Any) -> Tensor:
        """Look up the rows of tokens."""
        self._note(Operation("embed", rows.count, self._golden_matrix(table)))
        return self.recorded.embed(rows, tokens, table)

    def norm_linear(
        self, rows: Any, x: Tensor, gain: Tensor, weight: Any, eps: float, epilogue: str
    ) -> Tensor:
        """Apply norm, matrix and epilogue."""
        operation = Operation("norm_linear", rows.count, self._golden_matrix(weight), epilogue, eps)
        self._note(operation, x)
        return self.recorded.norm_linear(rows, x, gain, weight, eps, epilogue)

    def linear(
        self, rows: Any, x: Tensor, weight: Any, residual: Tensor, next_gain: Any = None
    ) -> Tensor:
        """Apply the matrix and add the residual."""
        operation = Operation("linear", rows.count, self._golden_matrix(weight), "residual")
        self._note(operation, x, residual)
        return self.recorded.linear(rows, x, weight, residual, next_gain)

    def rope_attention(
        self, rows: Any, qkv: Tensor, step: Any, keys: Tensor, values: Tensor
    ) -> Tensor:
        """Rotate, append to the pages, attend."""
        self._note(Operation("rope_attention", rows.count), qkv)
        return self.recorded.rope_attention(rows, qkv, step, keys, values)

    def select_row(self, rows: Any, x: Tensor, row: Tensor, width: int) -> Tensor:
        """Return one row."""
        self._note(Operation("select_row", rows.count, width=width), x)
        return self.recorded.select_row(rows, x, row, width)

    def draw(self, vocabulary: int, logits: Tensor, step: Any, state: Any) -> Tensor:
        """Draw tokens, with kernels that are the same for all batches."""
        self._note(Operation("draw", DRAW_ROWS, width=vocabulary), logits)
        return self.recorded.draw(vocabulary, logits, step, state)

    def _note(self, operation: Operation, *activations: Tensor) -> None:
        widths = [int(tensor.shape[1]) for tensor in activations] + [0, 0]
        self.operations.setdefault(operation, (widths[0], widths[1]))

    def _golden_matrix(self, matrix: Any) -> GoldenMatrix:
        return self._matrices[id(matrix)][1]


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
        found = kernels.recorded.attention_arithmetic(rows)
    elif operation.matrix is not None and operation.kind != "embed":
        found = kernels.recorded.product_arithmetic(rows, operation.matrix.storage)
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
            found = target.norm_linear(rows, *arguments, matrix, operation.eps, operation.epilogue)
            outputs = matrix.fmt.rows // (2 if operation.epilogue == "swiglu" else 1)
            return target.expose(rows, found, outputs)
        if operation.kind == "linear":
            return target.checked_linear(rows, arguments[0], matrix, arguments[1])
        if operation.kind == "select_row":
            return target.select_row(rows, *arguments, operation.width)
        if operation.kind == "draw":
            logits, positions, *state = arguments
            step = Step(rows, tokens, positions, None, None, None, [], [])
            return target.draw(operation.width, logits, step, DrawState(*state))
        qkv, cos, sin, positions, tables, keys, values = arguments
        step = Step(rows, tokens, positions, tables, cos, sin, [keys], [values])
        found = target.rope_attention(rows, qkv, step, keys, values)
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
        return [x, inputs.add("gain", (operation.matrix.columns,), "float32")]
    if operation.kind == "linear":
        return [x, inputs.add("residual", (count, widths[1]), "float32")]
    if operation.kind == "select_row":
        return [x, inputs.add("row", (1,), "int32")]
    if operation.kind == "draw":
        positions = inputs.add("positions", (count,), "int32")
        slots = tvm.tirx.Var("slot_count", "int64")
        tensors = draw_tensors(operation.width, DRAW_ROWS, slots)
        return [x, positions, *(inputs.add(name, *tensor) for name, tensor in tensors.items())]
    size = {name: tvm.tirx.Var(name, "int64") for name in ("context", "width", "pages", "page")}
    table = (1 if operation.batch is None else operation.batch, size["width"])
    half, dtype = config.head_dim // 2, kernels.shape.kv_dtype
    pages = (size["pages"], config.num_kv_heads, config.head_dim, size["page"])
    return [
        x,
        inputs.add("cos", (size["context"], half), "float32"),
        inputs.add("sin", (size["context"], half), "float32"),
        inputs.add("positions", (count,), "int32"),
        inputs.add("block_tables", table, "int32"),
        inputs.add("keys", key_shape(kernels.kv_layout, *pages), dtype),
        inputs.add("values", value_shape(kernels.kv_layout, *pages), dtype),
    ]


def _called_kernels(function: Any) -> tuple[str, ...]:
    found: dict[str, None] = {}

    def visit(expression: Any) -> None:
        if isinstance(expression, tvm.ir.GlobalVar):
            found[str(expression.name_hint)] = None

    relax.analysis.post_order_visit(function, visit)
    return tuple(found)
