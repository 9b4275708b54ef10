"""The memory of keys and values: two tensors a layer, in the layout that the library wants."""

from __future__ import annotations

from ferrylm.runtime.backends.base import Backend, Tensor
from ferrylm.runtime.device_tensors import aligned_bytes, array_bytes
from ferrylm.runtime.kv_layout import key_shape, value_shape
from ferrylm.runtime.manifest import Library, ModelConfig


class PageStorage:
    """The pages of all layers, zero at first."""

    def __init__(
        self, backend: Backend, model: ModelConfig, library: Library, pages: int, page_size: int
    ) -> None:
        self._backend = backend
        shapes = _shapes(model, library, pages, page_size)
        arena = backend.arena(storage_bytes(model, library, pages, page_size))
        layers = range(model.num_layers)
        self.keys, self.values = (
            [arena.take(shape, library.kv_dtype, zeroed=True) for _ in layers] for shape in shapes
        )
        self._page_bytes = array_bytes(shapes[1][1:], library.kv_dtype)

    def clear_values(self, first: int, count: int) -> None:
        """Set the values of `count` pages to 0 in every layer."""
        for values in self.values:
            self._backend.zero(values, first * self._page_bytes, count * self._page_bytes)

    def tensors(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return keys and values, one tensor a layer."""
        return self.keys, self.values


def storage_bytes(model: ModelConfig, library: Library, pages: int, page_size: int) -> int:
    """Return the memory of the pages of all layers."""
    shapes = _shapes(model, library, pages, page_size)
    return model.num_layers * sum(aligned_bytes(shape, library.kv_dtype) for shape in shapes)


def _shapes(
    model: ModelConfig, library: Library, pages: int, page_size: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    sizes = (pages, model.num_kv_heads, model.head_dim, page_size)
    return key_shape(library.kv_layout, *sizes), value_shape(library.kv_layout, *sizes)
