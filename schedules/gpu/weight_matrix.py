"""A weight matrix as the parameters of a model on GPUs."""

from __future__ import annotations

from typing import Any

from tvm.relax.frontend import nn

from ferrylm.schedules.gpu.layout import WeightFormat

Tensor = Any


class Matrix(nn.Module):  # type: ignore[misc]
    """A weight matrix in canonical layout, its codes as 32-bit words."""

    def __init__(self, fmt: WeightFormat) -> None:
        super().__init__()
        self.fmt = fmt
        for suffix, (dtype, shape) in fmt.tensors().items():
            setattr(self, suffix, nn.Parameter(shape, dtype))

    def tensors(self) -> list[Tensor]:
        """Return the tensors in the order in which kernels take them."""
        return [getattr(self, suffix) for suffix in self.fmt.tensors()]

    def transforms(self) -> dict[str, str]:
        """Return nothing: canonical bytes are used as they are."""
        return {}
