"""What tells a family of models from the others before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ferrylm.runtime.manifest import ModelConfig

SWIGLU, GEGLU = "swiglu", "geglu"


@dataclass(frozen=True)
class Family:
    """How a maker's configuration and weights are read.

    `adapt` adds the family's own to the shape that all models have. `gain_offset` is what stored
    gains of norms lack. With `scaled_embedding` the decoder multiplies the rows of the embedding
    by the square root of the hidden size; `fused` are q, k, v and gate, up in the maker's files.
    """

    adapt: Callable[[ModelConfig, Mapping[str, Any]], ModelConfig]
    activation: str = SWIGLU
    gain_offset: float = 0.0
    scaled_embedding: bool = False
    fused: bool = False
