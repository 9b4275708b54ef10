"""The quantization of an artifact as one word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ferrylm.runtime.manifest import Quantization


def quantization_name(quantization: Quantization) -> str:
    """Return "q4f16", or "q4f16+q8f16" where embedding and output head are q8f16."""
    if quantization.head == quantization.body:
        return quantization.body
    return f"{quantization.body}+{quantization.head}"
