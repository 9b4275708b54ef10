"""What is done to rows of numbers, in float64 numpy, written from the formulas."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]


def silu(x: ArrayLike) -> Float64:
    """x * sigmoid(x), without overflow for any finite x."""
    wide = np.asarray(x, np.float64)
    decay = np.exp(-np.abs(wide))
    return wide * np.where(wide >= 0, 1.0, decay) / (1.0 + decay)


def swiglu(gate: ArrayLike, up: ArrayLike) -> Float64:
    """silu(gate) * up (Shazeer, 2020)."""
    return silu(gate) * np.asarray(up, np.float64)


def gelu(x: ArrayLike) -> Float64:
    """The approximation by a hyperbolic tangent (Hendrycks and Gimpel, 2016)."""
    wide = np.asarray(x, np.float64)
    inner = math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)
    return 0.5 * wide * (1.0 + np.tanh(inner))


def gated(gate: ArrayLike, up: ArrayLike, activation: str) -> Float64:
    """swiglu, or geglu: gelu(gate) * up (Shazeer, 2020)."""
    return gelu(gate) * np.asarray(up, np.float64) if activation == "geglu" else swiglu(gate, up)


def rms_norm(x: ArrayLike, weight: ArrayLike, epsilon: float) -> Float64:
    """Root mean square norm over the last axis (Zhang and Sennrich, 2019)."""
    wide = np.asarray(x, np.float64)
    mean_square = np.mean(wide * wide, axis=-1, keepdims=True)
    return wide / np.sqrt(mean_square + epsilon) * np.asarray(weight, np.float64)


def softmax(scores: ArrayLike) -> Float64:
    """Softmax over the last axis; a score of minus infinity has probability 0."""
    wide = np.asarray(scores, np.float64)
    powers = np.exp(wide - np.max(wide, axis=-1, keepdims=True))
    return powers / np.sum(powers, axis=-1, keepdims=True)
