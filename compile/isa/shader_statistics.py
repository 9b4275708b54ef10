"""What the driver says of one compiled kernel, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from ferrylm.compile.isa.assembly import HotLoop, hot_loop
from ferrylm.errors import DeviceError

ASSEMBLY = "Assembly"  # RADV's name for the listing of machine code


@dataclass(frozen=True)
class ShaderStatistics:
    """Registers, memory and instructions, as VK_KHR_pipeline_executable_properties says.

    Registers are counted as the hardware allocates them, for one lane (vector) or one subgroup
    (scalar). `inverse_throughput` and `latency` are the driver's own estimates in cycles.
    """

    vector_registers: int
    scalar_registers: int
    spilled_vector_registers: int
    spilled_scalar_registers: int
    shared_bytes: int
    scratch_bytes: int
    subgroups_per_simd: int
    instructions: int
    code_bytes: int
    inverse_throughput: int
    latency: int
    hot_loop: HotLoop | None

    @property
    def spills(self) -> int:
        """Return the number of spilled registers of both kinds."""
        return self.spilled_vector_registers + self.spilled_scalar_registers


@dataclass(frozen=True)
class CompiledKernel:
    """A kernel at one subgroup width: its statistics, or why there are none.

    `refusal` says why no runtime would start it on this family, `problem` what went wrong.
    """

    name: str
    subgroup: int
    statistics: ShaderStatistics | None
    problem: str | None = None
    refusal: str | None = None
    loop_weights: int | None = None
    lane_weights: int | None = None
    assembly: str = ""

    @property
    def loop_instructions_per_weight(self) -> float | None:
        """Return the hot loop's instructions for each weight that a lane decodes in it."""
        loop = self.statistics.hot_loop if self.statistics else None
        if loop is None or not self.loop_weights:
            return None
        return loop.instructions / self.loop_weights

    @property
    def instructions_per_weight(self) -> float | None:
        """Return all instructions that a lane executes, for each weight that it decodes.

        Known where the hot loop is the only one that counts, or where there is none: the driver
        unrolls a short loop. What lies outside of the loop is counted once.
        """
        found = self.statistics
        if found is None or not self.lane_weights:
            return None
        loop = found.hot_loop
        if loop is None:
            return found.instructions / self.lane_weights
        if not self.loop_weights or loop.loops_around:
            return None
        turns = self.lane_weights / self.loop_weights
        return (found.instructions + loop.instructions * (turns - 1)) / self.lane_weights


def read_statistics(numbers: dict[str, int], assembly: str) -> ShaderStatistics:
    """Name the driver's numbers.

    Raises DeviceError where one is missing: a budget must not be met by a number nobody gave.
    """

    def number(name: str) -> int:
        if name not in numbers:
            raise DeviceError(
                f"this RADV does not report {name}",
                wanted="the statistics of Mesa 22.3 or newer",
                fix="install Mesa's RADV in such a version",
            )
        return numbers[name]

    return ShaderStatistics(
        vector_registers=number("VGPRs"),
        scalar_registers=number("SGPRs"),
        spilled_vector_registers=number("Spilled VGPRs"),
        spilled_scalar_registers=number("Spilled SGPRs"),
        shared_bytes=number("LDS size"),
        scratch_bytes=number("Scratch size"),
        subgroups_per_simd=number("Subgroups per SIMD"),
        instructions=number("Instructions"),
        code_bytes=number("Code size"),
        inverse_throughput=number("Inverse Throughput"),
        latency=number("Latency"),
        hot_loop=hot_loop(assembly),
    )
