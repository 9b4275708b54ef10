"""This machine as the choice of a library sees it."""

from __future__ import annotations

from collections.abc import Iterable

from ferrylm.runtime.backends import probe_kind
from ferrylm.runtime.cpu_features import host_cpu
from ferrylm.runtime.devices import Machine
from ferrylm.runtime.manifest import Manifest
from ferrylm.runtime.selection import Selection, choose_library, wanted_kinds
from ferrylm.runtime.tvm_runtime import installed_tvm


def this_machine(kinds: Iterable[str] = ()) -> Machine:
    """Look at the processor and at the GPUs of these kinds; loads their drivers, never raises."""
    probes = {kind: probe_kind(kind) for kind in sorted(kinds)}
    return Machine(host_cpu(), installed_tvm(), probes)


def choose_here(
    manifest: Manifest, *, device: str = "auto", target: str | None = None
) -> tuple[Selection, Machine]:
    """Choose library and device on this machine, looking at no more of it than the choice needs.

    Raises UsageError, NoLibraryError.
    """
    machine = this_machine(wanted_kinds(manifest, device, target))
    return choose_library(manifest, machine, device=device, target=target), machine
