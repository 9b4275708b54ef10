"""The devices of a machine as the choice of a library sees them: plain data, no driver behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ferrylm.errors import UsageError
from ferrylm.runtime.cpu_features import HostCpu
from ferrylm.runtime.manifest import KINDS

AUTO = "auto"

# By auto a device of an earlier class is taken first; a software device never is.
DISCRETE, INTEGRATED, VIRTUAL, SOFTWARE = "discrete", "integrated", "virtual", "software"
CLASSES = (DISCRETE, INTEGRATED, VIRTUAL, SOFTWARE)


@dataclass(frozen=True)
class GpuDevice:
    """One device as its driver reports it; what a kind does not have is left empty."""

    kind: str  # vulkan, cuda, rocm
    index: int  # TVM's device number
    name: str
    uuid: str
    device_class: str  # one of CLASSES
    driver: str
    api_version: str  # of Vulkan: 1.3.239; of CUDA what the driver knows at most: 13.0
    free_bytes: int
    total_bytes: int
    architecture: str = ""  # sm_90, gfx1033
    features: frozenset[str] = frozenset()
    subgroup_sizes: tuple[int, int] = (1, 1)  # the least and the largest that a kernel may ask for
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class GpuProbe:
    """The devices of one kind, in TVM's order; `problem` says why there are none."""

    devices: tuple[GpuDevice, ...]
    problem: str | None = None


@dataclass(frozen=True)
class Machine:
    """What a library is chosen for; `probes` has the kinds that were looked at."""

    host: HostCpu
    tvm_version: str | None = None  # None where TVM lies about without its metadata
    probes: Mapping[str, GpuProbe] = field(default_factory=dict)

    def devices(self, kind: str) -> tuple[GpuDevice, ...]:
        """Return the GPUs of a kind."""
        probe = self.probes.get(kind)
        return probe.devices if probe is not None else ()

    def problem(self, kind: str) -> str:
        """Return why there is no device of a kind."""
        probe = self.probes.get(kind)
        return (probe.problem if probe is not None else None) or f"no {kind} device"


@dataclass(frozen=True)
class DeviceRequest:
    """What a user asked for: `auto`, a kind, or one device of a kind."""

    kind: str  # auto or one of KINDS
    which: str | None  # an index, a part of a name, or a UUID
    text: str

    def names(self, device: GpuDevice) -> bool:
        """Return whether the request is for this device, if not for it alone."""
        if self.kind not in (AUTO, device.kind):
            return False
        if self.which is None:
            return True
        if self.which.isdecimal():
            return int(self.which) == device.index
        wanted = self.which.casefold()
        return wanted in device.name.casefold() or wanted == device.uuid.casefold()


def parse_device(text: str) -> DeviceRequest:
    """Understand `auto`, `cpu`, `vulkan`, `vulkan:1`, `vulkan:NAME`, `cuda:0`, `rocm`.

    Raises UsageError.
    """
    kind, colon, which = text.partition(":")
    if kind not in (AUTO, *KINDS):
        raise _unknown(text)
    if colon and (kind in (AUTO, "cpu") or not which.strip() or not which.isprintable()):
        raise _unknown(text)
    return DeviceRequest(kind, which.strip() or None, text)


def _unknown(text: str) -> UsageError:
    return UsageError(
        f"the device {text[:80]!a}",
        wanted="auto, cpu, vulkan, cuda or rocm, the last three maybe with :NUMBER or :NAME",
        fix="name one of those, or leave the device out",
    )
