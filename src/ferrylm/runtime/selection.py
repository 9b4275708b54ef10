"""The choice of one library and one device, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from ferrylm.errors import NoLibraryError
from ferrylm.runtime.devices import (
    AUTO,
    CLASSES,
    SOFTWARE,
    DeviceRequest,
    GpuDevice,
    Machine,
    parse_device,
)
from ferrylm.runtime.manifest import Library, Manifest
from ferrylm.runtime.requirements import device_problem, host_problem

# Of two ways to one GPU the one with more of the vendor's knowledge behind it.
_KIND_ORDER = ("cuda", "rocm", "vulkan", "cpu")
_FIX = {
    "cpu": "compile the model for this machine, or run it on one that a library was made for",
    "vulkan": "install the driver of the GPU, run ferry doctor to see what is missing, or compile"
    " the model for another device",
    "cuda": "install the NVIDIA driver, run ferry doctor, or compile the model for this chip",
    "rocm": "install the ROCm runtime, run ferry doctor, or compile the model for this chip",
}


@dataclass(frozen=True)
class Verdict:
    """Whether one library can run here, and why or why not."""

    target: str
    runnable: bool
    reason: str
    device: str = ""  # the name of the device it is judged for


@dataclass(frozen=True)
class Selection:
    """The chosen library, its device, and the verdict on each library, in the manifest's order.

    `device` is None for the CPU.
    """

    library: Library
    device: GpuDevice | None
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class _Candidate:
    """A library that can run on a device."""

    library: Library
    device: GpuDevice | None

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """Return what sorts candidates, the best first."""
        preference = -self.library.preference
        kind = _KIND_ORDER.index(self.library.kind)
        if self.device is None:
            return (CLASSES.index(SOFTWARE), kind, 0, preference)
        return (CLASSES.index(self.device.device_class), kind, self.device.index, preference)


def choose_library(
    manifest: Manifest, machine: Machine, *, device: str = AUTO, target: str | None = None
) -> Selection:
    """Choose the library to run on this machine and its device, from the manifest alone.

    The rule, as `ferry inspect --explain` prints it:

    1. A library can run if its target is the wanted one (when `target` is given), its kind is
       the wanted device's (when `device` is not auto), TVM has the release number (major.minor)
       the artifact was compiled with, the machine has the wanted architecture, and every core
       has every wanted CPU feature.
    2. A library for GPUs also needs a device of its kind (the wanted one, if `device` names one
       by number, name or UUID) that has the Vulkan version, features, subgroup sizes and limits,
       the CUDA driver and architecture, or the ROCm architecture that the manifest lists. A
       Vulkan device in software counts only if Vulkan was asked for, by device or target; one
       that multiplies bytes without an instruction for it gets kernels that count on one only if
       their target is the wanted one.
    3. Of those, a library on a discrete GPU is taken first, then on an integrated, then on a
       virtual one, then on the CPU; on the same class CUDA before ROCm before Vulkan; then the
       device with the lower number; then the library with the highest preference; of equals the
       first in the manifest.
    4. If there is none, nothing is loaded. Nothing falls back to a device that was not asked for.

    Raises UsageError for a device that is none, NoLibraryError where no library can run.
    """
    request = parse_device(device)
    candidates, verdicts = _judge_all(manifest, machine, request, target)
    if not candidates:
        raise _no_library(manifest, machine, request, target, verdicts)
    best = min(candidates, key=lambda candidate: candidate.rank)  # min() keeps the first of equals
    return Selection(best.library, best.device, verdicts)


def judge_libraries(
    manifest: Manifest, machine: Machine, *, device: str = AUTO, target: str | None = None
) -> tuple[Verdict, ...]:
    """Judge every library by steps 1 and 2 of the rule of `choose_library`.

    Raises UsageError for a device that is none.
    """
    return _judge_all(manifest, machine, parse_device(device), target)[1]


def wanted_kinds(manifest: Manifest, device: str = AUTO, target: str | None = None) -> set[str]:
    """Return the kinds of GPU that must be looked at before a choice; none for a CPU's library.

    Raises UsageError for a device that is none.
    """
    request = parse_device(device)
    return {
        library.kind
        for library in manifest.libraries
        if library.kind != "cpu" and _not_asked_for(library, request, target) is None
    }


def _judge_all(
    manifest: Manifest, machine: Machine, request: DeviceRequest, target: str | None
) -> tuple[list[_Candidate], tuple[Verdict, ...]]:
    candidates: list[_Candidate] = []
    verdicts = []
    for library in manifest.libraries:
        problem = (
            _not_asked_for(library, request, target)
            or _wrong_tvm(manifest.versions.tvm, machine.tvm_version)
            or host_problem(library, machine.host)
        )
        if problem is not None:
            verdicts.append(Verdict(library.target, False, problem))
            continue
        found, verdict = _on_devices(library, machine, request, by_target=target is not None)
        candidates += found
        verdicts.append(verdict)
    return candidates, tuple(verdicts)


def _on_devices(
    library: Library, machine: Machine, request: DeviceRequest, *, by_target: bool
) -> tuple[list[_Candidate], Verdict]:
    """Return where a library can run, and the verdict for the best place."""
    if library.kind == "cpu":
        met = ", ".join(library.requires.cpu_features) or "no special CPU feature"
        reason = f"{library.requires.machine} with {met}; preference {library.preference}"
        return [_Candidate(library, None)], Verdict(library.target, True, reason)
    devices = machine.devices(library.kind)
    named = [device for device in devices if request.names(device)]
    software = by_target or request.kind != AUTO
    counting = [device for device in named if software or device.device_class != SOFTWARE]
    if not counting:
        return [], Verdict(library.target, False, _no_device(library, machine, request, named))
    problems = [device_problem(library, device, named=by_target) for device in counting]
    found = [
        _Candidate(library, device)
        for device, problem in zip(counting, problems, strict=True)
        if problem is None
    ]
    if not found:
        reasons = "; ".join(dict.fromkeys(problem for problem in problems if problem))
        return [], Verdict(library.target, False, reasons, counting[0].name)
    best = min(found, key=lambda candidate: candidate.rank).device
    assert best is not None, "a GPU's library has a device"
    reason = f"{best.name} ({best.device_class}) has all it needs; preference {library.preference}"
    return found, Verdict(library.target, True, reason, best.name)


def _no_device(
    library: Library, machine: Machine, request: DeviceRequest, named: list[GpuDevice]
) -> str:
    kind = library.kind
    if named:
        names = ", ".join(device.name for device in named)
        return f"needs a GPU, {names} is a device in software: ask for it with --device {kind}"
    devices = machine.devices(kind)
    if devices:
        names = ", ".join(f"{device.index} {device.name}" for device in devices)
        return f"the device {request.text!a} was asked for, this machine has {names}"
    return machine.problem(kind)


def _not_asked_for(library: Library, request: DeviceRequest, target: str | None) -> str | None:
    if target is not None and library.target != target:
        return f"the target {target!a} was asked for"
    if request.kind not in (AUTO, library.kind):
        return f"is for {library.kind}, the device {request.text!a} was asked for"
    return None


def _wrong_tvm(compiled_with: str, installed: str | None) -> str | None:
    if installed is None or _release(installed) == _release(compiled_with):
        return None
    return f"compiled with TVM {compiled_with}, TVM {installed} is installed"


def _release(version: str) -> list[str]:
    return version.split(".")[:2]


def _no_library(
    manifest: Manifest,
    machine: Machine,
    request: DeviceRequest,
    target: str | None,
    verdicts: tuple[Verdict, ...],
) -> NoLibraryError:
    asked = f"the target {target!a}" if target is not None else f"the device {request.text!a}"
    if target is not None and target not in {verdict.target for verdict in verdicts}:
        return NoLibraryError(
            f"{manifest.name} has no library for {asked}",
            wanted="one of " + (", ".join(verdict.target for verdict in verdicts) or "none"),
            fix="name one of those, or compile the model for that target",
        )
    if request.kind != AUTO and not any(lib.kind == request.kind for lib in manifest.libraries):
        held = sorted({library.kind for library in manifest.libraries})
        return NoLibraryError(
            f"{manifest.name} has no library for {asked}",
            wanted=f"a library for {request.kind}, it has those for {', '.join(held) or 'nothing'}",
            fix=f"compile the model with --target {request.kind}",
        )
    reasons = "; ".join(f"{verdict.target}: {verdict.reason}" for verdict in verdicts)
    host = machine.host
    return NoLibraryError(
        f"no library of {manifest.name} can run ({reasons or 'it holds none'})",
        wanted=f"one for {asked} on {host.machine} ({host.model_name})",
        fix=_FIX["cpu" if request.kind == AUTO else request.kind],
    )
