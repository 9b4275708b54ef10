"""How much memory an artifact takes with one of its libraries."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ferrylm.cli.traffic import kv_bytes_per_token
from ferrylm.runtime.draw_layout import slot_bytes
from ferrylm.runtime.manifest import Library, Manifest
from ferrylm.runtime.tensor_types import ITEM_BYTES


@dataclass(frozen=True)
class MemoryPlan:
    """Memory of one library, for one sequence of `context_tokens`."""

    target: str
    weights_bytes: int
    kv_bytes_per_token: int
    context_tokens: int
    workspace_bytes: int

    @property
    def kv_bytes(self) -> int:
        """Return the size of the keys and values of a full context."""
        return self.kv_bytes_per_token * self.context_tokens

    @property
    def total_bytes(self) -> int:
        """Return the sum, which does not hold Python and TVM themselves."""
        return self.weights_bytes + self.kv_bytes + self.workspace_bytes


def plan_memory(manifest: Manifest, library: Library, context_tokens: int) -> MemoryPlan:
    """Add up what the manifest says of a library."""
    drawing = slot_bytes(manifest.model.vocab_size) if library.draws else 0
    return MemoryPlan(
        target=library.target,
        weights_bytes=sum(math.prod(p.shape) * ITEM_BYTES[p.dtype] for p in library.parameters),
        kv_bytes_per_token=kv_bytes_per_token(manifest.model, library),
        context_tokens=context_tokens,
        workspace_bytes=library.workspace_bytes + drawing,
    )
