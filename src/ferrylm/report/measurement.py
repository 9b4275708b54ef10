"""The measured kernels of an artifact: what `ferry bench --kernels` writes and `report` reads."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from ferrylm.errors import ArtifactError
from ferrylm.runtime.kernel_times import StepTimes
from ferrylm.runtime.kernel_traffic import KINDS
from ferrylm.runtime.manifest_codec import decode, encode
from ferrylm.runtime.strict_json import JsonValue, loads

FORMAT, VERSION = "ferrylm-kernel-times", 1
_FIX = "write the file again with ferry bench --kernels --json"
_MAX_BYTES = 16 << 20
_MOST_LAUNCHES = 100_000


@dataclass(frozen=True)
class Kernel:
    """One kernel of a step, as all its launches have it."""

    name: str
    kind: str
    arithmetic: str
    bytes_moved: int  # at least, by one launch
    operations: int  # of one launch


@dataclass(frozen=True)
class KernelTotal:
    """All launches of a kernel in a step."""

    kernel: Kernel
    launches: int
    median_us: float
    total_us: float

    @property
    def gb_s(self) -> float:
        """Return the rate at which the median launch must have moved memory."""
        return self.kernel.bytes_moved / max(self.median_us, 1e-9) / 1e3

    @property
    def gop_s(self) -> float:
        """Return the rate of the model's operations in the median launch."""
        return self.kernel.operations / max(self.median_us, 1e-9) / 1e3

    @property
    def intensity(self) -> float:
        """Return the operations for each byte."""
        return self.kernel.operations / max(self.kernel.bytes_moved, 1)


@dataclass(frozen=True)
class MeasuredStep:
    """One step: its kernels and its launches in their order."""

    name: str
    sequences: int
    rows: int
    depth: int
    repetitions: int
    step_us: float  # the whole step, unwatched
    kernels: tuple[Kernel, ...]
    launch_kernels: tuple[int, ...]  # indices into kernels
    launch_us: tuple[float, ...]

    @property
    def is_decode(self) -> bool:
        """Say whether each sequence gets one token."""
        return self.rows == 1

    @property
    def kernel_us(self) -> float:
        """Return the sum of all launches."""
        return sum(self.launch_us)

    @property
    def rest_us(self) -> float:
        """Return what the step takes besides its kernels; less than 0 where timing costs time."""
        return self.step_us - self.kernel_us

    @property
    def tokens(self) -> int:
        """Return the tokens of one step."""
        return self.sequences * self.rows

    @cached_property
    def totals(self) -> tuple[KernelTotal, ...]:
        """Return the kernels, those that take the most time first."""
        times: list[list[float]] = [[] for _ in self.kernels]
        for index, us in zip(self.launch_kernels, self.launch_us, strict=True):
            times[index].append(us)
        found = [
            KernelTotal(kernel, len(us), statistics.median(us), sum(us))
            for kernel, us in zip(self.kernels, times, strict=True)
            if us
        ]
        return tuple(sorted(found, key=lambda total: -total.total_us))


@dataclass(frozen=True)
class Measurement:
    """An artifact's steps on one device."""

    format: str
    version: int
    ferrylm: str
    tvm: str
    started: str  # UTC, ISO 8601
    model: str
    artifact_id: str
    target: str
    arithmetic: str
    kv_dtype: str
    bits_per_weight: float
    cpu: str
    device: str  # and its driver; the processor's name on a CPU
    threads: int
    bandwidth_gb_s: float | None
    bandwidth_method: str
    device_bytes: int | None  # all memory of a GPU
    context_tokens: int  # of the memory below
    sequences: int
    memory_bytes: dict[str, int]  # part -> bytes
    steps: tuple[MeasuredStep, ...]


def measured_step(times: StepTimes) -> MeasuredStep:
    """Return what was measured of a step in the form that is written."""
    kernels: dict[Kernel, int] = {}
    indices = []
    for launch in times.launches:
        did = launch.traffic
        kernel = Kernel(launch.name, did.kind, did.arithmetic, did.bytes_moved, did.operations)
        indices.append(kernels.setdefault(kernel, len(kernels)))
    return MeasuredStep(
        times.name,
        times.shape.sequences,
        times.shape.rows,
        times.shape.depth,
        times.repetitions,
        round(times.step_milliseconds * 1e3, 3),
        tuple(kernels),
        tuple(indices),
        tuple(round(launch.milliseconds * 1e3, 3) for launch in times.launches),
    )


def to_json(measurement: Measurement) -> JsonValue:
    """Return the document."""
    return encode(Measurement, measurement, "")


def read_measurement(data: bytes, *, what: str) -> Measurement:
    """Read a document that a stranger may have written. Raises ArtifactError."""
    value = loads(data, what=what, max_bytes=_MAX_BYTES)
    if type(value) is not dict or value.get("format") != FORMAT or value.get("version") != VERSION:
        raise ArtifactError(
            f"{what}: not a table of kernel times of version {VERSION}",
            wanted=f"a JSON object with the format {FORMAT}",
            fix=_FIX,
        )
    try:
        found = cast(Measurement, decode(Measurement, value, ""))
    except ArtifactError as error:
        problem = error.found.removeprefix("manifest.json: ")
        raise ArtifactError(f"{what}: {problem}", wanted=error.wanted, fix=_FIX) from None
    for problem in _problems(found):
        raise ArtifactError(f"{what}: {problem}", wanted="what was measured", fix=_FIX)
    return found


def _problems(found: Measurement) -> Iterable[str]:
    if not found.steps:
        yield "no step"
    if found.bandwidth_gb_s is not None and found.bandwidth_gb_s <= 0:
        yield "a bandwidth that is not more than 0"
    if any(size < 0 for size in found.memory_bytes.values()):
        yield "a size below 0"
    for step in found.steps:
        if not step.launch_us or len(step.launch_us) != len(step.launch_kernels):
            yield f"{step.name!a} with {len(step.launch_us)} times of launches"
        elif len(step.launch_us) > _MOST_LAUNCHES:
            yield f"{step.name!a} with more than {_MOST_LAUNCHES} launches"
        elif min(step.sequences, step.rows) < 1:
            yield f"{step.name!a} without a token"
        elif min(step.launch_us) < 0 or step.step_us <= 0:
            yield f"{step.name!a} with a time below 0"
        elif not all(0 <= index < len(step.kernels) for index in step.launch_kernels):
            yield f"{step.name!a} with a launch of an unknown kernel"
        for kernel in step.kernels:
            if kernel.kind not in KINDS or min(kernel.bytes_moved, kernel.operations) < 0:
                yield f"{step.name!a} with the kernel {kernel.name[:80]!a}, whose figures are wrong"
