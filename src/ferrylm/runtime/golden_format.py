"""The types of an artifact's golden data: what its libraries must compute, on any machine.

docs/verify.md explains them. Inputs are not stored: `golden_inputs` makes them anew, the same
bits on every machine.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ferrylm.errors import ArtifactError
from ferrylm.runtime.manifest import LATER, PLAIN_ATTENTION, AttentionVariant
from ferrylm.runtime.manifest_codec import FIX

FORMAT_NAME = "ferrylm-golden"
FORMAT_VERSION = 2


@dataclass(frozen=True)
class GoldenArray:
    """Numbers in canonical order: float32, little-endian, in base64."""

    shape: tuple[int, ...]
    data: str


@dataclass(frozen=True)
class GoldenMatrix:
    """A weight matrix in its canonical form; with `pairs` it is gate over up."""

    rows: int
    columns: int
    storage: str  # q4, q8, f16, f32
    minimum: bool
    pairs: bool


@dataclass(frozen=True)
class Expected:
    """What a kernel must give.

    An element may be off by `tolerance` times the sum of its own magnitude and its row's root
    mean square.
    """

    tolerance: float
    values: GoldenArray


@dataclass(frozen=True)
class KernelCase:
    """One operation of the model on generated inputs, the same for all targets.

    `expected` has what is computed by arithmetic (f32, f16, int8, int16), or by the type of keys
    and values ("float16 f16" where queries and weights round to float16, too). For rope_* it comes
    with the keys and values that are appended, under "KIND keys" and "KIND values". select_row
    copies its input and stores nothing.
    """

    name: str
    operation: str
    matrix: GoldenMatrix | None
    epilogue: str
    width: int  # columns of the activations
    rows: int
    expected: dict[str, Expected]
    variant: AttentionVariant = field(default=PLAIN_ATTENTION, metadata=LATER)


@dataclass(frozen=True)
class PackedTensor:
    """A tensor of a library and the function that packs it from the canonical `suffix`."""

    suffix: str
    dtype: str
    shape: tuple[int, ...]
    transform: str | None


@dataclass(frozen=True)
class KernelCheck:
    """How one library is asked for one case: a function, and the kernels that it calls."""

    case: str
    function: str
    kernels: tuple[str, ...]
    batch: int | None  # rows of a call; None: any multiple of the row tile, as in prefill
    expected: str  # a key of the case's `expected`
    input_width: int  # columns of the activations' buffer, padding too
    residual_width: int
    parameters: tuple[PackedTensor, ...]


@dataclass(frozen=True)
class TraceTolerance:
    """How far a library's logits may be off, in standard deviations of the logits.

    `logit` is for the likeliest token; another token may win where the gap is below `gap`.
    """

    logit: float
    gap: float


@dataclass(frozen=True)
class LibraryChecks:
    """All checks of the library for one target."""

    target: str
    checks: tuple[KernelCheck, ...]
    trace: TraceTolerance


@dataclass(frozen=True)
class TraceStep:
    """The likeliest token after all before it.

    `gap` is how far behind the second one's logit is, `deviation` the standard deviation of all
    logits.
    """

    token: int
    logit: float
    gap: float
    deviation: float


@dataclass(frozen=True)
class Trace:
    """What a float64 model on the same weights continues a prompt with."""

    prompt: tuple[int, ...]
    steps: tuple[TraceStep, ...]


@dataclass(frozen=True)
class Golden:
    """All golden data of an artifact; `trace_note` says why there is no trace."""

    format: str
    version: int
    cases: tuple[KernelCase, ...]
    libraries: tuple[LibraryChecks, ...]
    trace: Trace | None
    trace_note: str


def golden_array(values: npt.NDArray[np.float64]) -> GoldenArray:
    """Store numbers as float32, cut to 20 of its 24 bits.

    Another machine may differ in the last bits of a float64. It then stores another float32 with
    a chance of about 1e-9 a number, and so an artifact is the same wherever it is compiled.
    """
    fractions, exponents = np.frexp(values)
    cut = np.ldexp(np.rint(np.ldexp(fractions, 20)), exponents - 20).astype("<f4")
    return GoldenArray(tuple(cut.shape), base64.b64encode(cut.tobytes()).decode("ascii"))


def array_values(array: GoldenArray) -> npt.NDArray[np.float64]:
    """Return stored numbers as float64. Raises ArtifactError."""
    try:
        raw = base64.b64decode(array.data, validate=True)
    except (binascii.Error, ValueError):
        raise refused("an array that is not base64", "float32 numbers in base64") from None
    if any(size < 0 for size in array.shape) or len(raw) != 4 * math.prod(array.shape):
        raise refused(
            f"{len(raw)} bytes for the shape {list(array.shape)[:8]}", "4 bytes an element"
        )
    values = np.frombuffer(raw, "<f4").astype(np.float64).reshape(array.shape)
    if not np.isfinite(values).all():
        raise refused("an array that holds NaN or infinity", "finite numbers")
    return values


def expected_values(
    case: KernelCase, key: str, shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.float64], float]:
    """Return what a case expects, which must have this shape, and its tolerance.

    Raises ArtifactError.
    """
    found = case.expected.get(key)
    if found is None:
        raise refused(f"the golden case {case.name[:80]!a} without {key[:80]!a}", "all its results")
    if found.values.shape != shape:
        raise refused(
            f"the golden case {case.name[:80]!a} with results of shape"
            f" {list(found.values.shape)[:8]}",
            f"the shape {list(shape)}",
        )
    return array_values(found.values), found.tolerance


def refused(found: str, wanted: str) -> ArtifactError:
    """Return the error for golden data that cannot be used."""
    return ArtifactError(f"golden data with {found}", wanted=wanted, fix=FIX)
