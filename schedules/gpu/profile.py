"""What the GPU schedules know of a device: its code generator, subgroup width and instructions."""

from __future__ import annotations

from dataclasses import dataclass

SUBGROUP_WIDTHS = (8, 16, 32, 64)


@dataclass(frozen=True)
class GpuProfile:
    """One class of devices.

    `dot` says that four products of signed bytes are one instruction; without it activations stay
    float32. `rows_in_lanes` gives every lane rows of its own instead of spreading a row over the
    subgroup: right where a lane's loads are separate instructions anyway, as on a CPU.
    `shared_bytes` is the shared memory a workgroup may use. `overlap` says that a kernel may start
    before the one before it has ended, and wait for its results itself (NVIDIA, from 90 on).
    `matrix` says that products of float16 matrices are instructions (NVIDIA, mma.m16n8k16), and
    `warpgroups` that there is code for sm_90a, where four warps multiply in the background.
    `cooperative` is M, N and K of products of float16 matrices that a subgroup has, if it has any,
    with sums in float32 (VK_KHR_cooperative_matrix; WMMA and MFMA of AMD).
    """

    name: str
    kind: str  # vulkan, cuda or rocm
    subgroup: int
    dot: bool
    shared_bytes: int
    rows_in_lanes: bool = False
    overlap: bool = False
    matrix: bool = False
    warpgroups: bool = False
    cooperative: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.subgroup not in SUBGROUP_WIDTHS:
            raise ValueError(f"{self.name}: a subgroup of {self.subgroup}, not 8, 16, 32 or 64")

    @property
    def arithmetics(self) -> tuple[str, ...]:
        """Return the arithmetics of grouped weights that the device is good at, best first.

        int8 would save a decode step nothing: it waits for the weights.
        """
        return ("int16", "f32") if self.dot else ("f32",)

    def arithmetic(self, wanted: str) -> str:
        """Return the wanted arithmetic, or the best of the device where it gains nothing of that.

        So int8 becomes int16 where bytes are multiplied by an instruction, and floats elsewhere.
        """
        return wanted if wanted in self.arithmetics else self.arithmetics[0]
