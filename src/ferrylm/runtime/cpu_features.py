"""What the processor of this machine can do, from /proc/cpuinfo."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class HostCpu:
    """A machine's processor; `features` are names as /proc/cpuinfo writes them."""

    machine: str  # platform.machine(): x86_64, aarch64
    features: frozenset[str]
    model_name: str
    logical_cores: int
    physical_cores: int


def host_cpu() -> HostCpu:
    """Read the processor of this machine; without /proc/cpuinfo it has no known feature."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return parse_cpuinfo(text, platform.machine())


def parse_cpuinfo(text: str, machine: str) -> HostCpu:
    """Understand the text of /proc/cpuinfo.

    A feature counts only where every core has it, because a thread may run on any of them.
    The kernel lists AVX, AVX-512 and AMX only if it also saves their registers (it clears the
    flags otherwise: arch/x86/kernel/fpu/xstate.c), so no XGETBV is needed here.
    """
    blocks = [_fields(block) for block in text.split("\n\n")]
    cores = [block for block in blocks if "processor" in block]
    feature_sets = [frozenset(_features(core)) for core in cores]
    features = frozenset.intersection(*feature_sets) if feature_sets else frozenset()
    logical = max(1, len(cores))
    return HostCpu(
        machine=machine,
        features=features,
        model_name=_model_name(blocks),
        logical_cores=logical,
        physical_cores=_physical_cores(cores) or logical,
    )


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _features(core: dict[str, str]) -> list[str]:
    # x86 writes "flags", Arm writes "Features".
    return core.get("flags", core.get("Features", "")).split()


def _physical_cores(cores: list[dict[str, str]]) -> int:
    """Count distinct (package, core) pairs; 0 where the kernel does not name them (Arm)."""
    if not all("physical id" in core and "core id" in core for core in cores):
        return 0
    return len({(core["physical id"], core["core id"]) for core in cores})


def _model_name(blocks: list[dict[str, str]]) -> str:
    for key in ("model name", "Model", "Hardware"):
        for block in blocks:
            if block.get(key):
                return block[key]
    for block in blocks:
        if "CPU part" in block:
            implementer = block.get("CPU implementer", "?")
            return f"Arm implementer {implementer}, part {block['CPU part']}"
    return "unknown processor"
