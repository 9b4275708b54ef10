"""The rows of activations that one call of a kernel works on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tvm import te


@dataclass(frozen=True)
class Rows:
    """Either `count` rows, or any number of tiles of `tile` rows.

    In the second case kernels take the number of tiles as their first argument: a buffer's shape
    alone does not say that its rows come in whole tiles, and without that every tile is guarded.
    """

    tile: int
    count: int | None = None
    tiles: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.count is not None and self.count % self.tile:
            raise ValueError(f"{self.count} rows are no whole number of tiles of {self.tile}")
        if self.count is None:
            object.__setattr__(self, "tiles", te.var("tiles", "int64"))

    @property
    def extent(self) -> Any:
        """Return the number of rows, an int or an expression in `tiles`."""
        return self.tiles * self.tile if self.count is None else self.count

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Return the leading arguments of a kernel that works on these rows."""
        return (self.tiles,) if self.count is None else ()

    def symbol(self) -> Any:
        """Return the number of rows as TVMScript wants it: an int, or a variable of its own."""
        return te.var("rows", "int64") if self.count is None else self.count
