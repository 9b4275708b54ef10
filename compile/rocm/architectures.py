"""What code generation must know about each AMD chip, as data.

Source: LLVM's AMDGPUUsage page (processors, e_flags, generic processors) and the instruction lists
of its subtarget features. A test compiles for every entry and compares what came out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ferrylm.errors import UsageError

NATIVE_VERSION = 5
GENERIC_VERSION = 6


@dataclass(frozen=True)
class Architecture:
    """One processor name of LLVM, native (`gfx1100`) or of a family (`gfx11-generic`).

    `dot` says which 4 x 8 bit dot product there is: "signed" (v_dot4_i32_i8, both signed), "mixed"
    (v_dot4_i32_iu8, any signs) or "none". `lanes` is the addressing of lanes: "gcn" (rows of 16 and
    mirrors) or "rdna" (also any exclusive or within a row, and an exchange of rows). `matrix` is
    the kind of matrix unit (matrix_units.py), or "none".
    """

    name: str
    wave: int
    machine: int
    dot: str
    lanes: str
    members: tuple[str, ...] = ()
    matrix: str = "none"
    lds_bytes: int = 65536
    vector_registers: int = 256

    def __post_init__(self) -> None:
        if self.wave not in (32, 64) or self.dot not in ("none", "signed", "mixed"):
            raise ValueError(f"{self.name}: wave {self.wave}, dot {self.dot}")
        if self.lanes not in ("gcn", "rdna") or (self.lanes == "gcn") != (self.wave == 64):
            raise ValueError(f"{self.name}: lanes {self.lanes} with waves of {self.wave}")

    @property
    def is_generic(self) -> bool:
        """Whether code for it runs on every member of a family."""
        return bool(self.members)

    @property
    def code_object_version(self) -> int:
        """Return 6 for families, which version 5 cannot name, else 5, which older ROCm reads."""
        return GENERIC_VERSION if self.is_generic else NATIVE_VERSION

    @property
    def features(self) -> tuple[str, ...]:
        """Return LLVM's subtarget features.

        RDNA pairs two compute units unless told otherwise; a fence within a workgroup must then
        wait for all memory. In CU mode it waits for LDS only, as on GCN.
        """
        if self.wave == 64:
            return ()
        # Halves of registers as operands are new in LLVM: disassemblers before 21 cannot read them.
        whole_registers = ("-real-true16",) if self.name.startswith(("gfx11", "gfx12")) else ()
        return ("+wavefrontsize32", "+cumode", *whole_registers)

    @property
    def bundle_id(self) -> str:
        """Return the name of its entry in a HIP bundle."""
        return f"hipv4-amdgcn-amd-amdhsa--{self.name}"


def _gcn(name: str, machine: int, dot: str, members: tuple[str, ...] = ()) -> Architecture:
    return Architecture(name, 64, machine, dot, "gcn", members)


def _cdna(name: str, machine: int, registers: int, members: tuple[str, ...] = ()) -> Architecture:
    lds_bytes = 163840 if name == "gfx950" else 65536
    return Architecture(
        *(name, 64, machine, "signed", "gcn", members),
        matrix="mfma",
        lds_bytes=lds_bytes,
        vector_registers=registers,
    )


def _rdna(name: str, machine: int, dot: str, members: tuple[str, ...] = ()) -> Architecture:
    matrix = "none"
    if dot == "mixed":
        matrix = "wmma12" if name.startswith("gfx12") else "wmma"
    return Architecture(name, 32, machine, dot, "rdna", members, matrix=matrix)


_GFX9 = ("gfx900", "gfx902", "gfx904", "gfx906", "gfx909", "gfx90c")
_GFX9_4 = ("gfx942", "gfx950")
_GFX10_1 = ("gfx1010", "gfx1011", "gfx1012", "gfx1013")
_GFX10_3 = ("gfx1030", "gfx1031", "gfx1032", "gfx1033", "gfx1034", "gfx1035", "gfx1036")
_GFX11 = ("gfx1100", "gfx1101", "gfx1102", "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153")
_GFX12 = ("gfx1200", "gfx1201")

_ALL = (
    _gcn("gfx906", 0x2F, "signed"),
    _cdna("gfx908", 0x30, 256),
    _cdna("gfx90a", 0x3F, 512),
    _cdna("gfx942", 0x4C, 512),
    _cdna("gfx950", 0x4F, 512),
    _rdna("gfx1010", 0x33, "none"),
    _rdna("gfx1012", 0x35, "signed"),
    _rdna("gfx1030", 0x36, "signed"),
    _rdna("gfx1031", 0x37, "signed"),
    _rdna("gfx1032", 0x38, "signed"),
    _rdna("gfx1033", 0x39, "signed"),
    _rdna("gfx1034", 0x3E, "signed"),
    _rdna("gfx1035", 0x3D, "signed"),
    _rdna("gfx1036", 0x45, "signed"),
    _rdna("gfx1100", 0x41, "mixed"),
    _rdna("gfx1101", 0x46, "mixed"),
    _rdna("gfx1102", 0x47, "mixed"),
    _rdna("gfx1103", 0x44, "mixed"),
    _rdna("gfx1150", 0x43, "mixed"),
    _rdna("gfx1151", 0x4A, "mixed"),
    _rdna("gfx1152", 0x55, "mixed"),
    _rdna("gfx1200", 0x48, "mixed"),
    _rdna("gfx1201", 0x4E, "mixed"),
    _gcn("gfx9-generic", 0x51, "none", _GFX9),
    _cdna("gfx9-4-generic", 0x5F, 512, _GFX9_4),
    _rdna("gfx10-1-generic", 0x52, "none", _GFX10_1),
    _rdna("gfx10-3-generic", 0x53, "signed", _GFX10_3),
    _rdna("gfx11-generic", 0x54, "mixed", _GFX11),
    _rdna("gfx12-generic", 0x59, "mixed", _GFX12),
)
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({a.name: a for a in _ALL})

DEFAULT_NAMES = (
    *("gfx906", "gfx908", "gfx90a", "gfx942", "gfx1030", "gfx1100", "gfx1101", "gfx1102"),
    *("gfx1151", "gfx1200", "gfx1201", "gfx9-generic", "gfx9-4-generic", "gfx10-1-generic"),
    *("gfx10-3-generic", "gfx11-generic", "gfx12-generic"),
)


def architectures(names: Sequence[str] = DEFAULT_NAMES) -> tuple[Architecture, ...]:
    """Return the named architectures in the given order, each once.

    `gfx11` and the like are accepted for `gfx11-generic`. Raises UsageError for an unknown name.
    """
    found: dict[str, Architecture] = {}
    for name in names:
        known = ARCHITECTURES.get(name) or ARCHITECTURES.get(f"{name}-generic")
        if known is None:
            raise UsageError(
                f"the AMD architecture {name!r}",
                wanted="one of " + ", ".join(ARCHITECTURES),
                fix="name your chip's architecture or its family, as rocminfo prints it",
            )
        found[known.name] = known
    if not found:
        raise UsageError(
            "no AMD architecture",
            wanted="at least one of " + ", ".join(ARCHITECTURES),
            fix="leave the list out to get the default one",
        )
    return tuple(found.values())


def serving(chip: str, names: Sequence[str]) -> str | None:
    """Return which of the compiled `names` HIP would run on `chip`, or None.

    The very chip goes before its family.
    """
    if chip in names:
        return chip
    for name in names:
        known = ARCHITECTURES.get(name)
        if known is not None and chip in known.members:
            return name
    return None
