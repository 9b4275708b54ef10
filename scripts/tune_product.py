"""A product of quantized weights and activations: random inputs, and what it must answer.

Needs numpy only, so that it runs where no compiler is. The layouts are those of
schedules/gpu/layout.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

GROUP, RADIX = 32, 254
LARGEST = {1: 127, 2: 127 * RADIX + 126}
_ROWS_AT_ONCE = 2048
Array = np.ndarray
Outputs = list[tuple[tuple[int, ...], str]]


@dataclass(frozen=True)
class TunedProduct:
    """What a kernel computes; `name` is the kernel's, `parts` the bytes of an activation."""

    name: str
    storage: str  # q4, q8
    minimum: bool
    parts: int
    rows: int
    columns: int
    epilogue: str  # plain, residual, swiglu
    eps: float | None
    prepared: bool
    gained: bool
    batch: int

    @property
    def groups(self) -> int:
        """Return the groups of a row of weights."""
        return -(-self.columns // GROUP)

    @property
    def outputs(self) -> int:
        """Return the results of a row of activations."""
        return self.rows // 2 if self.epilogue == "swiglu" else self.rows

    @property
    def bytes_moved(self) -> int:
        """Return the bytes of the weights: what the kernel waits for."""
        scales = 4 if self.minimum else 2
        return self.rows * self.groups * ((16 if self.storage == "q4" else 32) + scales)

    def weights(self, generator: Any) -> list[Array]:
        """Return codes, scales, and minimums where there are any."""
        shape = (self.rows, self.groups)
        words = 4 if self.storage == "q4" else 8
        codes = generator.integers(0, 1 << 32, (*shape, words), np.uint32)
        scales = [((0.5 + generator.random(shape)) / 64).astype(np.float16)]
        if self.minimum:
            scales.append((-8 / 64 * generator.random(shape)).astype(np.float16))
        return [codes, *scales]

    def activations(self, generator: Any) -> list[Array]:
        """Return codes and terms; columns beyond the matrix are zero."""
        m, g, largest = self.batch, self.groups, LARGEST[self.parts]
        values = generator.integers(-largest, largest + 1, (m, g * GROUP))
        values[:, self.columns :] = 0
        scales = generator.random((m, g), np.float32) / largest
        squares = generator.random((m, g), np.float32) * GROUP
        terms = np.zeros((m, g, 4), np.uint32)
        terms[..., 0] = scales.view(np.uint32)
        terms[..., 1] = values.reshape(m, g, GROUP).sum(axis=2).astype(np.int32).view(np.uint32)
        terms[..., 2] = squares.view(np.uint32)
        return [_packed(values, self.parts), terms]

    def others(self, generator: Any) -> list[Array]:
        """Return the residual and the gain of the next norm, where they are read."""
        found: list[Array] = []
        if self.epilogue == "residual":
            width = -(-self.outputs // GROUP) * GROUP
            residual = np.zeros((self.batch, width), np.float32)
            residual[:, : self.outputs] = generator.standard_normal((self.batch, self.outputs))
            found.append(residual)
        if self.gained:
            found.append(generator.standard_normal(self.outputs).astype(np.float32))
        return found

    def results(self) -> Outputs:
        """Return shapes and dtypes of what the kernel writes, in their order."""
        g = -(-self.outputs // GROUP)
        found: Outputs = []
        if not self.prepared or self.gained:
            found.append(((self.batch, g * GROUP), "float32"))
        if self.prepared:
            found += [
                ((self.batch, 2 * self.parts, g, 4), "uint32"),
                ((self.batch, g, 4), "uint32"),
            ]
        return found

    def expected(self, x: list[Array], w: list[Array], others: list[Array]) -> Array:
        """Return the results in float64, (batch, outputs)."""
        values = _unpacked(x[0]) * np.repeat(_floats(x[1], 0), GROUP, axis=1)
        parts = [
            values @ self._decoded([array[start : start + _ROWS_AT_ONCE] for array in w]).T
            for start in range(0, self.rows, _ROWS_AT_ONCE)
        ]
        y = np.concatenate(parts, axis=1)
        if self.eps is not None:
            squares = _floats(x[1], 2).sum(axis=1, keepdims=True)
            y = y / np.sqrt(squares / self.columns + self.eps)
        if self.epilogue == "residual":
            y = y + others[0][:, : self.outputs]
        if self.epilogue == "swiglu":
            gate, up = np.split(y, 2, axis=1)
            y = gate / (1 + np.exp(-gate)) * up
        return y

    def error(self, found: list[Array], expected: Array, others: list[Array]) -> float:
        """Return the normalized mean square error; infinite where results contradict themselves."""
        errors, left = [], list(found)
        if not self.prepared or self.gained:
            errors.append(_nmse(left.pop(0)[:, : self.outputs], expected))
        if self.prepared:
            codes, terms = left
            values = _unpacked(codes)
            sums = values.reshape(self.batch, -1, GROUP).sum(axis=2)
            if not np.array_equal(np.ascontiguousarray(terms[..., 1]).view(np.int32), sums):
                return float("inf")
            scaled = (values * np.repeat(_floats(terms, 0), GROUP, axis=1))[:, : self.outputs]
            errors.append(_nmse(scaled, expected * others[-1] if self.gained else expected))
            width = len(terms[0]) * GROUP
            filled = np.zeros((self.batch, width))
            filled[:, : self.outputs] = expected
            squares = (filled**2).reshape(self.batch, -1, GROUP).sum(axis=2)
            errors.append(_nmse(_floats(terms, 2), squares))
        return max(errors)

    def _decoded(self, w: list[Array]) -> Array:
        octets = np.ascontiguousarray(w[0]).view(np.uint8).reshape(*w[0].shape[:2], -1)
        if self.storage == "q4":
            levels = np.concatenate([octets & 15, octets >> 4], axis=2).astype(np.float64)
            if not self.minimum:
                levels -= 8
        else:
            levels = octets.view(np.int8).astype(np.float64)
        levels *= w[1].astype(np.float64)[:, :, None]
        if self.minimum:
            levels += w[2].astype(np.float64)[:, :, None]
        decoded: Array = levels.reshape(len(levels), -1)
        return decoded


def _packed(values: Array, parts: int) -> Array:
    m, g = len(values), values.shape[1] // GROUP
    digits = [values]
    if parts == 2:
        high = np.rint(values / RADIX)
        digits = [high, values - high * RADIX]
    octets = np.stack(digits, axis=1).astype(np.int8).reshape(m, parts, g, 2, 16)
    octets = np.ascontiguousarray(octets.transpose(0, 1, 3, 2, 4))
    return octets.reshape(m, 2 * parts, g, 16).view(np.uint32)


def _unpacked(codes: Array) -> Array:
    m, halves, g, _ = codes.shape
    octets = np.ascontiguousarray(codes).view(np.int8).reshape(m, halves // 2, 2, g, 16)
    digits = octets.transpose(1, 0, 3, 2, 4).reshape(halves // 2, m, g * GROUP).astype(np.int64)
    found: Array = digits[0] if len(digits) == 1 else digits[0] * RADIX + digits[1]
    return found


def _floats(terms: Array, index: int) -> Array:
    return np.ascontiguousarray(terms[..., index]).view(np.float32).astype(np.float64)


def _nmse(found: Array, wanted: Array) -> float:
    if not np.all(np.isfinite(found)):
        return float("inf")
    return float(np.sum((found - wanted) ** 2) / max(np.sum(wanted**2), 1e-300))
