"""Machines that cannot run a library of an artifact that has one of every kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import gpu_devices as gpus
from artifact_samples import add_sample_files, library

from ferrylm.compile.artifact_writer import ArtifactWriter
from ferrylm.runtime.devices import GpuDevice, Machine
from ferrylm.runtime.manifest import CudaNeeds, Library, Requirements, RocmNeeds, VulkanNeeds

LIMITS = {"maxComputeSharedMemorySize": 32768, "maxComputeWorkGroupInvocations": 1024}
FEATURES = ("shaderInt64", "bufferDeviceAddress", "storageBuffer16BitAccess")
NEEDS = {
    "cuda-sm80": Requirements("x86_64", (), cuda=CudaNeeds(("sm_80", "sm_90a"), (), "13.0")),
    "rocm-wave32": Requirements("x86_64", (), rocm=RocmNeeds(("gfx1100", "gfx10-3-generic"))),
    "vulkan-subgroup32": Requirements(
        "x86_64", (), vulkan=VulkanNeeds("1.2", FEATURES, (32,), LIMITS)
    ),
}


@dataclass(frozen=True)
class WrongMachine:
    """A machine, what was asked of it, and what the refusal must say."""

    name: str
    machine: Machine
    device: str
    found: str  # words of the finding
    fix: str  # words of the remedy


def write_artifact(folder: Path) -> None:
    """Write an artifact whose libraries are no code: opening one would be noticed."""
    with ArtifactWriter(folder) as writer:
        manifest = add_sample_files(writer)
        gpu: list[Library] = []
        for target, needs in NEEDS.items():
            file = writer.add_bytes(target, ".so", b"no code for " + target.encode())
            gpu.append(library(file, target, requires=needs, kv_layout="vector8"))
        libraries = (*gpu, manifest.libraries[0])
        writer.commit(dataclasses.replace(manifest, libraries=libraries))


@contextmanager
def pretending(machine: Machine) -> Iterator[None]:
    """Let the runtime find this machine instead of the one it runs on."""
    with (
        mock.patch("ferrylm.runtime.machine.host_cpu", return_value=machine.host),
        mock.patch("ferrylm.runtime.machine.installed_tvm", return_value=machine.tvm_version),
        mock.patch("ferrylm.runtime.machine.probe_kind", lambda kind: machine.probes[kind]),
    ):
        yield


def _cuda(name: str, chip: str, **changes: object) -> GpuDevice:
    return dataclasses.replace(gpus.cuda(name, chip), **changes)  # type: ignore[arg-type]


H100 = gpus.cuda("NVIDIA H100", "sm_90")
RX_7900 = gpus.rocm("Radeon RX 7900 XTX", "gfx1100")
_NO_NVIDIA = "no NVIDIA driver (no libcuda.so.1); install the NVIDIA driver, version 580 or newer"
_NO_CUDART = "no libcudart.so.13; pip install nvidia-cuda-runtime==13.0.96"


def _deck(**changes: object) -> GpuDevice:
    return gpus.vulkan("steam_deck", **changes)


Cell = tuple[str, Machine, str, str, str]
_MEMORY, _CONTEXT = "of free memory on", "shorter context"


def _alone(device: GpuDevice) -> Machine:
    return gpus.machine(device)


def _nvidia() -> Iterator[Cell]:
    for name, problem, found in (
        ("no NVIDIA driver", _NO_NVIDIA, "no libcuda.so.1"),
        ("driver without a GPU", "the driver finds no NVIDIA GPU", "finds no NVIDIA GPU"),
        ("no libcudart", _NO_CUDART, "no libcudart.so.13; pip install"),
    ):
        yield name, gpus.machine(cuda=problem), "cuda", found, "ferry doctor"
    for version in ("12.9", "12.4", "11.8"):
        old = _alone(dataclasses.replace(H100, api_version=version))
        yield f"NVIDIA driver for {version}", old, "cuda", f"is for CUDA {version}", "driver"
    for chip in ("sm_61", "sm_70", "sm_75", "sm_100", "sm_120"):
        yield f"NVIDIA chip {chip}", _alone(_cuda("some GPU", chip)), "cuda", chip, "compile"
    prohibited = _alone(_cuda("H100", "sm_90", features=frozenset()))
    yield "prohibited NVIDIA GPU", prohibited, "cuda", "Prohibited: run nvidia-smi", "driver"
    yield "no such NVIDIA GPU", _alone(H100), "cuda:3", "0 NVIDIA H100", "compile"
    small = _alone(_cuda("H100", "sm_90", free_bytes=1 << 20))
    yield "little memory on NVIDIA", small, "cuda", _MEMORY, _CONTEXT


def _amd() -> Iterator[Cell]:
    for name, problem in (
        ("no HIP", "libamdhip64 was not found"),
        ("old ROCm", "libamdhip64 of ROCm 5.7"),
        ("no native HIP library", "libferrylm_hip.so was not built"),
    ):
        yield name, gpus.machine(rocm=problem), "rocm", problem, "ROCm"
    for chip in ("gfx803", "gfx906:sramecc+:xnack-", "gfx90a", "gfx942", "gfx1010", "gfx1201"):
        plain = chip.partition(":")[0]
        other = _alone(gpus.rocm("some GPU", chip))
        yield f"AMD chip {plain}", other, "rocm", f"some GPU is {plain}", "compile"
    yield "no such AMD GPU", _alone(RX_7900), "rocm:1", "0 Radeon RX 7900 XTX", "compile"
    small = _alone(dataclasses.replace(RX_7900, free_bytes=1 << 20))
    yield "little memory on AMD", small, "rocm", _MEMORY, _CONTEXT


def _vulkan() -> Iterator[Cell]:
    for name, problem in (
        ("no Vulkan loader", "no libvulkan.so.1"),
        ("no Vulkan device", "no driver file (ICD) was found"),
        ("no native Vulkan library", "libferrylm_vulkan.so was not built"),
    ):
        yield name, gpus.machine(vulkan=problem), "vulkan", problem, "driver"
    old = _alone(_deck(api_version="1.1.102"))
    yield "old Vulkan", old, "vulkan", "needs Vulkan 1.2, ", "driver"
    for feature in FEATURES:
        lacking = _alone(_deck(features=gpus.DECK.features - {feature}))
        yield f"Vulkan without {feature}", lacking, "vulkan", f"needs {feature}", "driver"
    for name, least in LIMITS.items():
        half = _alone(_deck(limits={**gpus.DECK.limits, name: least // 2}))
        yield f"Vulkan with half {name}", half, "vulkan", f"needs {name} of {least}", "driver"
    wide = _alone(_deck(subgroup_sizes=(64, 64)))
    yield "Vulkan with other subgroups", wide, "vulkan", "needs subgroups of 32", "driver"
    yield "no such Vulkan device", _alone(_deck()), "vulkan:radeonsi", "0 ", "compile"
    small = _alone(_deck(free_bytes=1 << 20))
    yield "little memory on Vulkan", small, "vulkan", _MEMORY, _CONTEXT
    pieces = _alone(_deck(limits={**gpus.DECK.limits, "maxBufferSize": 1024}))
    yield "Vulkan that allocates little", pieces, "vulkan", "allocates at most", "context"


def _any_kind() -> Iterator[Cell]:
    arm = dataclasses.replace(gpus.HOST, machine="aarch64")
    for kind, device in (("cuda", H100), ("rocm", RX_7900), ("vulkan", gpus.DECK)):
        other = gpus.machine(device, host=arm)
        yield f"another processor, {kind}", other, kind, "needs x86_64, this machine", "compile"
    bare = gpus.machine(host=dataclasses.replace(gpus.HOST, features=frozenset()))
    yield "a processor without AVX2", bare, "auto", "avx2", "compile"
    newer = dataclasses.replace(gpus.machine(H100), tvm_version="0.28.0")
    yield "another TVM", newer, "cuda", "TVM 0.28.0 is installed", "compile"


WRONG_MACHINES = tuple(
    WrongMachine(*cell) for cell in (*_nvidia(), *_amd(), *_vulkan(), *_any_kind())
)
