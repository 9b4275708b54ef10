"""What a layer's attention has of its own, as the model tells the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ferrylm.runtime.manifest import PLAIN_ATTENTION, AttentionVariant


@dataclass(frozen=True)
class LayerAttention:
    """A layer's variant of attention and its vectors, where it has some.

    `head_gains` float32 (2 D,) are those of the norms of query and key heads, `sinks` float32
    (Hq,) the scores of the variant's sinks.
    """

    variant: AttentionVariant = PLAIN_ATTENTION
    head_gains: Any = None
    sinks: Any = None

    @property
    def vectors(self) -> list[Any]:
        """Return the vectors in the order in which a kernel takes them."""
        return [found for found in (self.head_gains, self.sinks) if found is not None]


PLAIN_LAYER = LayerAttention()


def variant_tag(variant: AttentionVariant) -> str:
    """Return what tells kernels of a variant apart by name: "" or "_window16_cap50_0"."""
    words = []
    if variant.window_tokens is not None:
        words.append(f"window{variant.window_tokens}")
    if variant.soft_cap is not None:
        digits = "".join(c if c.isalnum() else "_" for c in repr(variant.soft_cap))
        words.append(f"cap{digits}")
    words += [name for name in ("alibi", "sinks", "local_rope") if getattr(variant, name)]
    return "".join(f"_{word}" for word in words)
