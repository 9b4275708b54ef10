"""What a compile is asked for, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ferrylm.compile.quantize import SCHEMES
from ferrylm.compile.targets import Chips, expand_targets
from ferrylm.errors import UsageError
from ferrylm.schedules.cpu.layout import ARITHMETICS

WEIGHT_MODES = ("stored", "random")


@dataclass(frozen=True)
class CompileOptions:
    """One compile; `targets` are names of targets.py: all, cpu, vulkan, cpu-x86-64-v3, ..."""

    source: Path
    output: Path
    quantization: str = "q4f16"
    head_quantization: str | None = None  # None: see `head`
    targets: tuple[str, ...] = ("cpu",)
    arithmetic: str = "int16"
    context_length: int | None = None
    weights: str = "stored"
    seed: int = 0
    chips: Chips = field(default_factory=Chips)

    def __post_init__(self) -> None:
        _choice("quantization", self.quantization, SCHEMES)
        _choice("head quantization", self.head_quantization or self.quantization, SCHEMES)
        _choice("arithmetic", self.arithmetic, ARITHMETICS)
        _choice("weights", self.weights, WEIGHT_MODES)
        expand_targets(self.targets, self.chips)
        if self.context_length is not None and self.context_length < 1:
            raise UsageError(
                f"a context of {self.context_length} tokens", wanted="1 or more", fix="give more"
            )

    def head(self, *, tied_embedding: bool) -> str:
        """Return the scheme of embedding and head.

        Unless one is chosen it is the body's, but 8 bits for a 4-bit model whose embedding is also
        its head: at 4 bits SmolLM2 loses a fifth of its most likely tokens there
        (docs/correctness.md).
        """
        if self.head_quantization is not None:
            return self.head_quantization
        return "q8f16" if tied_embedding and self.quantization == "q4f16" else self.quantization


@dataclass(frozen=True)
class CompileResult:
    """A published artifact and how long each stage took."""

    path: Path
    artifact_id: str
    size_bytes: int
    seconds: Mapping[str, float] = field(compare=False)


def _choice(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(
            f"{what} {value!r}", wanted="one of " + ", ".join(allowed), fix="choose one of these"
        )
