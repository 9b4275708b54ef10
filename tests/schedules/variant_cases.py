"""The variants of attention that tests run, each on another shape, and their data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ferrylm.runtime.manifest import PLAIN_ATTENTION, AttentionVariant
from ferrylm.schedules.cpu.attention import AttentionShape
from tests import variant_reference
from tests.schedules.attention_data import AttentionData
from tests.schedules.cases import AttentionCase

Array = np.ndarray
LENGTH = 400
SCORES = 1.5  # their standard deviation in AttentionData


@dataclass(frozen=True)
class VariantCase(AttentionCase):
    """Attention of a variant."""

    variant: AttentionVariant = PLAIN_ATTENTION

    @property
    def shape(self) -> AttentionShape:
        """Return what the kernels are made for."""
        return replace(super().shape, variant=self.variant)

    def __str__(self) -> str:
        variant = self.variant
        words = [
            f"window{variant.window_tokens}" if variant.window_tokens else "",
            f"cap{variant.soft_cap:g}" if variant.soft_cap else "",
            "alibi" if variant.alibi else "",
            "sinks" if variant.sinks else "",
            f"scale{variant.score_scale:g}" if variant.score_scale else "",
        ]
        return "-".join([*(word for word in words if word), super().__str__()])


_SMALL = (4, 2, 16, LENGTH, 32, "float16")
_UGLY = (3, 3, 18, LENGTH, 32, "float32")
_OF_64 = (9, 3, 64, LENGTH, 32, "float16")
_OF_80 = (8, 2, 80, LENGTH, 64, "float16")
_OF_96 = (4, 1, 96, LENGTH, 32, "float32")
_OF_128 = (7, 1, 128, LENGTH, 64, "float16")
# Windows below a block of 32 tokens, of one, of a chunk, of no whole block, beyond the context.
CASES = (
    VariantCase(*_OF_64, variant=AttentionVariant(window_tokens=7)),
    VariantCase(*_UGLY, variant=AttentionVariant(window_tokens=32)),
    VariantCase(*_OF_80, variant=AttentionVariant(window_tokens=100)),
    VariantCase(*_SMALL, variant=AttentionVariant(window_tokens=128)),
    VariantCase(*_UGLY, variant=AttentionVariant(window_tokens=5000)),
    VariantCase(*_SMALL, variant=AttentionVariant(soft_cap=2.0)),
    VariantCase(*_UGLY, variant=AttentionVariant(alibi=True)),
    VariantCase(*_OF_64, variant=AttentionVariant(sinks=True)),
    VariantCase(*_SMALL, variant=AttentionVariant(score_scale=0.5)),
    VariantCase(*_SMALL, variant=AttentionVariant(window_tokens=1)),
    VariantCase(*_OF_96, variant=AttentionVariant(70, soft_cap=2.0, score_scale=0.1)),  # Gemma 2
    VariantCase(*_OF_64, variant=AttentionVariant(window_tokens=33, sinks=True)),  # gpt-oss
    VariantCase(
        *_OF_128, variant=AttentionVariant(65, 3.0, alibi=True, sinks=True, score_scale=0.2)
    ),
)
# Ends of blocks and chunks, one token before and one after.
LENGTHS = (1, 8, 31, 32, 33, 64, 65, 101, 128, 129, 257, 288, LENGTH)


@dataclass(frozen=True)
class VariantData(AttentionData):
    """The data of a VariantCase."""

    @property
    def variant(self) -> AttentionVariant:
        """Return what the case is about."""
        return self.case.shape.variant

    @cached_property
    def sinks(self) -> Array:
        """Return float32 (Hq,), some of them larger than most scores."""
        generator = np.random.default_rng(3)
        return (2 * SCORES * generator.standard_normal(self.case.num_heads)).astype(np.float32)

    @property
    def beside(self) -> list[Array]:
        """Return the arguments that only this variant has."""
        return [self.sinks] if self.variant.sinks else []

    def expected(self, positions: list[int]) -> Array:
        """Return float64 (positions, Hq, D)."""
        keys, values = self.pages
        paged = (keys.transpose(0, 3, 1, 2), values.transpose(0, 2, 1, 3))
        flat = [pool[self.table].reshape(-1, *pool.shape[2:]) for pool in paged]
        return variant_reference.attend(
            self.queries[positions], positions, flat[0], flat[1], self.variant, self.sinks
        )


def data_of(case: AttentionCase, seed: int = 0) -> AttentionData:
    """Return the data of any case of attention; all sequences of a model have its sinks."""
    if not isinstance(case, VariantCase):
        return AttentionData(case, seed)
    return VariantData(case, seed)
