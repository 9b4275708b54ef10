"""The steps of a library that decode and draw, on an engine's tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ferrylm.runtime.ahead import Ahead
from ferrylm.runtime.backends.base import DrawingBackend, Tensor
from ferrylm.runtime.draw_group import DrawGroup
from ferrylm.runtime.draw_slots import DrawSlots
from ferrylm.runtime.engine_plan import EnginePlan
from ferrylm.runtime.executable import Executable
from ferrylm.runtime.kv_pages import PagePool, page_count


def new_ahead(
    backend: DrawingBackend, executable: Executable, plan: EnginePlan, vocab_size: int,
    pool: PagePool, before: Sequence[Any], parameters: Any,
) -> Ahead:  # fmt: skip
    """Return what draws on the device.

    `before` is what steps take after their integers: cos, sin, keys, values. Raises
    LibraryMismatchError for a library without generate_B, MemoryLimitError.
    """
    library = plan.library
    functions = {b: executable.step(f"generate_{b}") for b in library.decode_batches}
    slots = DrawSlots(backend, plan.max_sequences, vocab_size)
    settings, *others = slots.tensors

    def make_call(batch: int, tensors: Sequence[Tensor]) -> Callable[[], Tensor]:
        tokens, positions, tables, rows, steps, ring = tensors
        arguments = [tokens, positions, tables, *before, rows, steps, settings, *others, ring]
        function = functions[batch]
        return lambda: function(*arguments, parameters)

    most_pages = page_count(plan.page_size, plan.context, 1)
    return Ahead(
        slots,
        pool,
        library.decode_batches[-1],
        lambda: DrawGroup(backend, library.decode_batches, library.row_tile, most_pages, make_call),
    )
