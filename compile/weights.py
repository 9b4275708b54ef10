"""From a source's tensors to the canonical tensors of an artifact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ferrylm.compile.quantize import encode, encode_vector, tensor_layout
from ferrylm.compile.quantize_repack import carries_minimum
from ferrylm.compile.sources import Source, SourceTensor
from ferrylm.compile.weight_plan import TensorSpec
from ferrylm.errors import SourceError
from ferrylm.relax_models.weights import WeightSource
from ferrylm.runtime.progress import Progress, ProgressCallback
from ferrylm.schedules.cpu.kernels import MatrixStorage

_STORAGE = {"q4f16": "q4", "q8f16": "q8", "q0f16": "f16", "q0f32": "f32"}
_HEAD = ("embedding", "head")


@dataclass(frozen=True)
class CanonicalWeights:
    """What a model's canonical tensors are: their sources, schemes and layouts."""

    sources: tuple[WeightSource, ...]
    schemes: Mapping[str, str]  # of each matrix
    storage: Mapping[str, MatrixStorage]

    def specs(self) -> list[TensorSpec]:
        """Return name, dtype and shape of every stored tensor, in order."""
        found = []
        for weight in self.sources:
            if weight.columns is None:
                found.append(TensorSpec(weight.name, "float32", (weight.rows,)))
                continue
            stored = self.storage[weight.name]
            layout = tensor_layout(
                self.schemes[weight.name], weight.rows, weight.columns, stored.minimum
            )
            for suffix, (dtype, shape) in layout.items():
                found.append(TensorSpec(f"{weight.name}.{suffix}", dtype, shape))
        return found

    @property
    def parameter_count(self) -> int:
        """Return the number of weights before quantization."""
        return sum(weight.rows * (weight.columns or 1) for weight in self.sources)


def canonical(
    sources: Sequence[WeightSource], source: Source, body: str, head: str
) -> CanonicalWeights:
    """Choose scheme and layout of each tensor; raises SourceError for what the source lacks."""
    schemes, storage = {}, {}
    for weight in sources:
        parts = [] if source.kind == "config" else _parts(source, weight)
        _check_shape(weight, parts)
        if weight.columns is None:
            continue
        scheme = head if weight.name in _HEAD else body
        minimum = scheme == "q4f16" and any(carries_minimum(part.encoding) for part in parts)
        schemes[weight.name] = scheme
        storage[weight.name] = MatrixStorage(weight.rows, weight.columns, _STORAGE[scheme], minimum)
    return CanonicalWeights(tuple(sources), schemes, storage)


def encoded(
    weights: CanonicalWeights, source: Source, progress: ProgressCallback
) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
    """Yield name and content of every stored tensor, in the order of `specs`."""
    total = len(weights.sources)
    for done, weight in enumerate(weights.sources):
        progress(Progress("weights", done, total, "tensors"))
        parts = _parts(source, weight)
        if weight.columns is None:
            yield weight.name, np.concatenate([encode_vector(part) for part in parts])
            continue
        for suffix, array in encode(parts, weights.schemes[weight.name]).items():
            yield f"{weight.name}.{suffix}", array
    progress(Progress("weights", total, total, "tensors"))


@dataclass(frozen=True)
class _AdjustedRows:
    """Rows of a tensor as float32, (x + offset) * scale."""

    tensor: SourceTensor
    offset: float
    scale: float

    def read(self, start: int, stop: int) -> npt.NDArray[np.uint8]:
        values = self.tensor.dequantize(start, stop)
        adjusted = (values + np.float32(self.offset)) * np.float32(self.scale)
        rows = adjusted.astype("<f4").reshape(stop - start, -1)
        return np.ascontiguousarray(rows).view(np.uint8)


def _parts(source: Source, weight: WeightSource) -> list[SourceTensor]:
    """Return the tensors that a canonical one is made of, as it has them."""
    parts = [_tensor(source, part) for part in weight.parts]
    if (weight.offset, weight.scale) == (0.0, 1.0):
        return parts
    return [
        SourceTensor(part.name, part.shape, "F32", _AdjustedRows(part, weight.offset, weight.scale))
        for part in parts
    ]


def _tensor(source: Source, name: str) -> SourceTensor:
    try:
        return source.tensors[name]
    except KeyError:
        raise SourceError(
            f"{source.name} has no tensor {name}",
            wanted="all tensors of its configuration",
            fix="check that the files are complete",
        ) from None


def _check_shape(weight: WeightSource, parts: Sequence[SourceTensor]) -> None:
    if not parts:
        return
    rows = sum(part.row_count for part in parts)
    columns = {part.columns for part in parts}
    if rows != weight.rows or columns != {weight.columns or 1}:
        shapes = " + ".join(str(list(part.shape)) for part in parts)
        raise SourceError(
            f"{', '.join(weight.parts)}: {shapes}",
            wanted=f"{weight.rows} rows of {weight.columns or 1} columns in all",
            fix="check that config and weights belong together",
        )
