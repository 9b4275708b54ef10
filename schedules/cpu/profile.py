"""What the CPU schedules know of a processor: its TVM target and its integer dot product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CpuProfile:
    """One instruction-set level.

    `dot_lanes` counts the int32 lanes of one dot-product instruction; `signed_weights` says that
    its weight operand is int8 (SDOT) and not uint8 (VPDPBUSD); `saturates` that the product of a
    pair of bytes must fit int16 (PMADDUBSW), so that full-range uint8 weights are not allowed.
    """

    name: str
    machine: str
    cpu_features: tuple[str, ...]  # /proc/cpuinfo names that a machine must show
    triple: str
    mcpu: str
    mattr: tuple[str, ...]
    dot: str
    dot_lanes: int
    signed_weights: bool
    saturates: bool
    preference: int

    def __post_init__(self) -> None:
        if self.dot_lanes not in (4, 8, 16):
            raise ValueError(f"{self.name}: dot_lanes is {self.dot_lanes}, not 4, 8 or 16")

    def tvm_target(self) -> dict[str, object]:
        """Return the description that `tvm.target.Target` takes."""
        return {
            "kind": "llvm",
            "mtriple": self.triple,
            "mcpu": self.mcpu,
            "mattr": list(self.mattr),
            "opt-level": 3,
        }


_X86 = "x86_64-unknown-linux-gnu"

PROFILES: Mapping[str, CpuProfile] = {
    profile.name: profile
    for profile in (
        CpuProfile(
            name="x86-64-v3",
            machine="x86_64",
            cpu_features=("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"),
            triple=_X86,
            mcpu="x86-64-v3",
            mattr=(),
            dot="avx2",
            dot_lanes=8,
            signed_weights=False,
            saturates=True,
            preference=10,
        ),
        CpuProfile(
            name="x86-64-v3-vnni",
            machine="x86_64",
            cpu_features=("avx", "avx2", "avx_vnni", "bmi1", "bmi2", "f16c", "fma", "movbe"),
            triple=_X86,
            mcpu="x86-64-v3",
            mattr=("+avxvnni",),
            dot="avxvnni",
            dot_lanes=8,
            signed_weights=False,
            saturates=False,
            preference=15,
        ),
        CpuProfile(
            name="x86-64-v4-vnni",
            machine="x86_64",
            cpu_features=(
                *("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"),
                *("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512_vnni"),
            ),
            triple=_X86,
            mcpu="x86-64-v4",
            mattr=("+avx512vnni", "-prefer-256-bit"),
            dot="avx512vnni",
            dot_lanes=16,
            signed_weights=False,
            saturates=False,
            preference=20,
        ),
        CpuProfile(
            name="aarch64-dotprod",
            machine="aarch64",
            cpu_features=("asimd", "asimddp", "fphp"),
            triple="aarch64-unknown-linux-gnu",
            mcpu="generic",
            mattr=("+neon", "+dotprod", "+fullfp16"),
            dot="sdot",
            dot_lanes=4,
            signed_weights=True,
            saturates=False,
            preference=10,
        ),
    )
}
