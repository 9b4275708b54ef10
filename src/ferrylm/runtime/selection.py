"""The choice of one library of an artifact, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from ferrylm.errors import NoLibraryError, UsageError
from ferrylm.runtime.cpu_features import HostCpu
from ferrylm.runtime.manifest import Library, Manifest

DEVICES = ("auto", "cpu", "vulkan", "cuda", "rocm")
RUNNABLE_KINDS = ("cpu",)


@dataclass(frozen=True)
class Verdict:
    """Whether one library can run here, and why or why not."""

    target: str
    runnable: bool
    reason: str


@dataclass(frozen=True)
class Selection:
    """The chosen library and the verdict on each library, in the manifest's order."""

    library: Library
    verdicts: tuple[Verdict, ...]


def choose_library(
    manifest: Manifest,
    host: HostCpu,
    *,
    device: str = "auto",
    target: str | None = None,
    tvm_version: str | None = None,
) -> Selection:
    """Choose the library to run on this machine, from the manifest alone.

    The rule, as `ferry inspect --explain` prints it:

    1. A library can run if its target is the wanted one (when `target` is given), its kind is
       the wanted device's (when `device` is not auto), this version runs that kind, TVM has the
       release number (major.minor) the artifact was compiled with (when `tvm_version` is
       given), the machine has the wanted architecture, and every core has every wanted
       CPU feature.
    2. Of those the one with the highest preference is taken; of equals the first in the manifest.
    3. If there is none, nothing is loaded. Nothing falls back to a device that was not asked for.

    Raises UsageError for an unknown device name, NoLibraryError where no library can run.
    """
    verdicts = judge_libraries(
        manifest, host, device=device, target=target, tvm_version=tvm_version
    )
    runnable = [
        library
        for library, verdict in zip(manifest.libraries, verdicts, strict=True)
        if verdict.runnable
    ]
    if not runnable:
        raise _no_library(manifest, host, device, target, verdicts)
    # max() keeps the first of equals.
    return Selection(max(runnable, key=lambda library: library.preference), verdicts)


def judge_libraries(
    manifest: Manifest,
    host: HostCpu,
    *,
    device: str = "auto",
    target: str | None = None,
    tvm_version: str | None = None,
) -> tuple[Verdict, ...]:
    """Judge every library by step 1 of the rule of `choose_library`, in the manifest's order.

    Raises UsageError for an unknown device name.
    """
    if device not in DEVICES:
        raise UsageError(
            f"the device {device!a}",
            wanted="one of " + ", ".join(DEVICES),
            fix="name one of those, or leave the device out",
        )
    return tuple(
        _judge(library, manifest, host, device, target, tvm_version)
        for library in manifest.libraries
    )


def _judge(
    library: Library,
    manifest: Manifest,
    host: HostCpu,
    device: str,
    target: str | None,
    tvm_version: str | None,
) -> Verdict:
    problem = (
        _not_asked_for(library, device, target)
        or _wrong_tvm(manifest.versions.tvm, tvm_version)
        or _wrong_machine(library, host)
    )
    if problem:
        return Verdict(library.target, False, problem)
    met = ", ".join(library.requires.cpu_features) or "no special CPU feature"
    return Verdict(
        library.target,
        True,
        f"{library.requires.machine} with {met}; preference {library.preference}",
    )


def _not_asked_for(library: Library, device: str, target: str | None) -> str | None:
    if target is not None and library.target != target:
        return f"the target {target!a} was asked for"
    if device != "auto" and library.kind != device:
        return f"is for {library.kind}, the device {device} was asked for"
    if library.kind not in RUNNABLE_KINDS:
        return f"is for {library.kind}, this version runs {', '.join(RUNNABLE_KINDS)}"
    return None


def _wrong_tvm(compiled_with: str, installed: str | None) -> str | None:
    if installed is None or _release(installed) == _release(compiled_with):
        return None
    return f"compiled with TVM {compiled_with}, TVM {installed} is installed"


def _release(version: str) -> list[str]:
    return version.split(".")[:2]


def _wrong_machine(library: Library, host: HostCpu) -> str | None:
    wanted = library.requires
    if wanted.machine != host.machine:
        return f"needs {wanted.machine}, this machine is {host.machine}"
    missing = [name for name in wanted.cpu_features if name not in host.features]
    if missing:
        return f"needs the CPU features {', '.join(missing)}, which {host.model_name} lacks"
    return None


def _no_library(
    manifest: Manifest,
    host: HostCpu,
    device: str,
    target: str | None,
    verdicts: tuple[Verdict, ...],
) -> NoLibraryError:
    asked = f"the target {target!a}" if target is not None else f"the device {device}"
    reasons = "; ".join(f"{verdict.target}: {verdict.reason}" for verdict in verdicts)
    if target is not None and target not in {verdict.target for verdict in verdicts}:
        return NoLibraryError(
            f"{manifest.name} has no library for {asked}",
            wanted="one of " + (", ".join(verdict.target for verdict in verdicts) or "none"),
            fix="name one of those, or compile the model for that target",
        )
    return NoLibraryError(
        f"no library of {manifest.name} can run ({reasons or 'it holds none'})",
        wanted=f"one for {asked} on {host.machine} ({host.model_name})",
        fix="compile the model for this machine, or run it on one that a library was made for",
    )
