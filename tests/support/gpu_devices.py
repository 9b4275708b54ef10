"""Devices as drivers report them, for tests of the choice of a library.

Features, limits and subgroup sizes are those of vulkan.gpuinfo.org for these devices and drivers.
"""

from __future__ import annotations

from ferrylm.runtime.cpu_features import HostCpu
from ferrylm.runtime.devices import GpuDevice, GpuProbe, Machine

SUBGROUPS = (
    *("subgroupBasic", "subgroupVote", "subgroupArithmetic", "subgroupBallot"),
    *("subgroupShuffle", "subgroupShuffleRelative", "subgroupClustered"),
)
MODERN = frozenset(
    (
        *SUBGROUPS,
        *("bufferDeviceAddress", "timelineSemaphore", "shaderInt64", "shaderInt16", "shaderInt8"),
        *("shaderFloat16", "storageBuffer16BitAccess", "storageBuffer8BitAccess"),
        *("vulkanMemoryModel", "subgroupSizeControl", "computeFullSubgroups"),
        "shaderIntegerDotProduct",
    )
)
LIMITS = {"maxComputeSharedMemorySize": 65536, "maxComputeWorkGroupInvocations": 1024}


def vulkan(
    name: str, device_class: str, subgroups: tuple[int, int], index: int = 0, **changes: object
) -> GpuDevice:
    fields: dict[str, object] = {
        "kind": "vulkan",
        "index": index,
        "name": name,
        "uuid": f"{index:032x}",
        "device_class": device_class,
        "driver": "a driver 1.2",
        "api_version": "1.3.255",
        "free_bytes": 8 << 30,
        "total_bytes": 8 << 30,
        "features": MODERN,
        "subgroup_sizes": subgroups,
        "limits": LIMITS,
    }
    return GpuDevice(**{**fields, **changes})  # type: ignore[arg-type]


DECK = vulkan("AMD Custom GPU 0405 (RADV VANGOGH)", "integrated", (32, 64))
RTX = vulkan(
    "NVIDIA GeForce RTX 4070",
    "discrete",
    (32, 32),
    limits={**LIMITS, "maxComputeSharedMemorySize": 49152},
)
ARC = vulkan("Intel(R) Arc(tm) A770 Graphics (DG2)", "discrete", (8, 32))
LAVAPIPE = vulkan(
    "llvmpipe (LLVM 15.0.6, 256 bits)", "software", (8, 8),
    limits={**LIMITS, "maxComputeSharedMemorySize": 32768},
)  # fmt: skip
POLARIS = vulkan(  # GCN 4: no dot product, no packed float16, waves of 64 only
    "AMD Radeon RX 580 Series (RADV POLARIS10)", "discrete", (64, 64),
    features=MODERN - {"shaderIntegerDotProduct", "shaderFloat16", "shaderInt8"},
)  # fmt: skip
KEPLER = vulkan(
    "NVIDIA GeForce GTX 680", "discrete", (32, 32), api_version="1.2.175",
    features=frozenset(SUBGROUPS),
)  # fmt: skip
VENUS = vulkan("Virtio-GPU Venus (AMD Radeon)", "virtual", (32, 64))
OLD_INTEL = vulkan(
    "Intel(R) HD Graphics 530 (SKL GT2)", "integrated", (8, 32),
    features=MODERN - {"subgroupSizeControl"},
)  # fmt: skip

HOST = HostCpu("x86_64", frozenset({"avx2", "fma"}), "Some CPU", 8, 4)


def cuda(name: str, architecture: str, index: int = 0, driver: str = "13.0") -> GpuDevice:
    return GpuDevice(
        "cuda", index, name, f"GPU-{index:032x}", "discrete", "580.82", driver, 24 << 30, 24 << 30,
        architecture,
    )  # fmt: skip


def rocm(name: str, architecture: str, device_class: str = "discrete") -> GpuDevice:
    return GpuDevice(
        "rocm", 0, name, "", device_class, "6.4", "", 16 << 30, 16 << 30, architecture
    )  # fmt: skip


def machine(*devices: GpuDevice, host: HostCpu = HOST, **problems: str) -> Machine:
    """Return a machine with these GPUs; `problems` say why a kind has none."""
    probes = {
        kind: GpuProbe(tuple(d for d in devices if d.kind == kind), problems.get(kind))
        for kind in ("vulkan", "cuda", "rocm")
    }
    return Machine(host, None, probes)
