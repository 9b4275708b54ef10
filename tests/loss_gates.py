"""How much a quantization may lose against the original weights.

The limits are meant for models of a billion parameters and more; smaller ones lose more.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LossGate:
    """The largest loss of a quantization against the original weights, for a model >= 1B."""

    name: str
    perplexity_ratio: float  # quantized / original, at most
    mean_kld: float
    top1: float

    def violations(self, ratio: float, mean_kld: float, top1: float) -> list[str]:
        """Return one sentence for each limit that is broken."""
        broken = []
        if not ratio <= self.perplexity_ratio:
            broken.append(
                f"perplexity ratio is {ratio:.4f}, {self.name} allows {self.perplexity_ratio:.4f}"
            )
        if not mean_kld <= self.mean_kld:
            broken.append(f"mean KLD is {mean_kld:.3g}, {self.name} allows {self.mean_kld:.3g}")
        if not top1 >= self.top1:
            broken.append(f"top-1 agreement is {top1:.4f}, {self.name} wants {self.top1:.4f}")
        return broken


LOSS_GATES = {
    "q0f32": LossGate("q0f32", 1.001, 1e-4, 0.995),
    "q0f16": LossGate("q0f16", 1.001, 1e-4, 0.995),
    "q8f16": LossGate("q8f16", 1.003, 2e-3, 0.975),
    "q4f16": LossGate("q4f16", 1.05, 0.06, 0.90),
}
