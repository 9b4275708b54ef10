"""Which operations a model asks of its kernels, written down while it is traced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ferrylm.runtime.golden_draws import DRAW_ROWS
from ferrylm.runtime.golden_format import GoldenMatrix
from ferrylm.runtime.manifest import PLAIN_ATTENTION, AttentionVariant
from ferrylm.schedules.attention_layer import PLAIN_LAYER, LayerAttention
from ferrylm.schedules.post_norm import PostNorm

Tensor = Any


@dataclass(frozen=True)
class Operation:
    """One operation as the model asks for it; `batch` is None in prefill."""

    kind: str  # embed, norm_linear, linear, rope_attention, select_row, draw
    batch: int | None
    matrix: GoldenMatrix | None = None
    epilogue: str = ""
    eps: float = 0.0
    width: int = 0
    variant: AttentionVariant = PLAIN_ATTENTION


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
        self,
        rows: Any,
        x: Tensor,
        gain: Tensor,
        weight: Any,
        eps: float,
        epilogue: str,
        bias: Any = None,
        cap: float = 0.0,
    ) -> Tensor:
        """Apply norm, matrix and epilogue."""
        operation = Operation("norm_linear", rows.count, self._golden_matrix(weight), epilogue, eps)
        self._note(operation, x)
        return self.recorded.norm_linear(rows, x, gain, weight, eps, epilogue, bias, cap)

    def linear(
        self,
        rows: Any,
        x: Tensor,
        weight: Any,
        residual: Tensor,
        next_gain: Any = None,
        post: PostNorm | None = None,
    ) -> Tensor:
        """Apply the matrix, perhaps a norm, and add the residual."""
        epilogue, eps = ("residual", 0.0) if post is None else ("post_norm", post.eps)
        operation = Operation("linear", rows.count, self._golden_matrix(weight), epilogue, eps)
        self._note(operation, x, residual)
        return self.recorded.linear(rows, x, weight, residual, next_gain, post)

    def rope_attention(
        self,
        rows: Any,
        qkv: Tensor,
        step: Any,
        keys: Tensor,
        values: Tensor,
        layer: LayerAttention = PLAIN_LAYER,
    ) -> Tensor:
        """Rotate, append to the pages, attend."""
        self._note(Operation("rope_attention", rows.count, variant=layer.variant), qkv)
        return self.recorded.rope_attention(rows, qkv, step, keys, values, layer)

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
