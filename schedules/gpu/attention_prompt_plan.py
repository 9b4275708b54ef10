"""What the plans of a prompt's attention on matrix units have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.gpu.attention_plan import BLOCK
from ferrylm.schedules.gpu.layout import KEY_VECTOR


@dataclass(frozen=True)
class PromptPlan(ABC):
    """A tile applied to a shape: query rows of a workgroup walk over the tokens in steps."""

    shape: AttentionShape

    @property
    @abstractmethod
    def threads(self) -> int:
        """Return the threads of a workgroup."""

    @property
    @abstractmethod
    def tokens(self) -> int:
        """Return the tokens of a step."""

    @property
    def head_dim(self) -> int:
        """Return D."""
        return self.shape.head_dim

    @property
    def blocks(self) -> int:
        """Return the blocks of tokens of a step, each within one page."""
        return self.tokens // BLOCK

    @property
    def vectors(self) -> int:
        """Return the 16-byte vectors of a key, a value or a query."""
        return self.head_dim // KEY_VECTOR

    @property
    def copies(self) -> int:
        """Return how many vectors of a block of keys, or of values, a lane copies at most."""
        return -(-BLOCK * self.vectors // self.threads)

    @property
    def whole_copies(self) -> bool:
        """Return whether every lane copies as many."""
        return BLOCK * self.vectors % self.threads == 0
