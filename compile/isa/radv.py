"""Compile kernels for an AMD GPU that is not there, in a process of their own."""

from __future__ import annotations

import base64
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferrylm.compile.isa.container import Kernel
from ferrylm.compile.isa.shader_statistics import ASSEMBLY, CompiledKernel, read_statistics
from ferrylm.errors import DeviceError

INSTALL = "install it: Debian and Ubuntu: apt-get install mesa-vulkan-drivers libvulkan1"

_ICD_FOLDERS = (
    "/usr/share/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/run/opengl-driver/share/vulkan/icd.d",
)
_START_SECONDS, _KERNEL_SECONDS = 60, 20


@dataclass(frozen=True)
class Family:
    """A GPU family as the driver describes it."""

    name: str  # as it was asked for
    device: str
    subgroups: tuple[int, int]  # narrowest and widest
    missing_features: frozenset[str]


def find_radv() -> Path:
    """Return RADV's manifest for the Vulkan loader. Raises DeviceError where there is none."""
    found = [path for folder in _ICD_FOLDERS for path in Path(folder).glob("radeon_icd*.json")]
    found.sort(key=lambda path: platform.machine() not in path.name)
    if not found:
        raise DeviceError(
            "Mesa's RADV driver is not installed",
            wanted="radeon_icd*.json in one of " + ", ".join(_ICD_FOLDERS),
            fix=INSTALL,
        )
    return found[0]


def open_family(name: str) -> Family:
    """Ask the driver about a family such as "vangogh".

    Raises DeviceError where the driver is missing or does not know the family.
    """
    answers, complaint = _converse(name, [])
    if not answers or "name" not in answers[0]:
        problem = answers[0]["problem"] if answers else complaint
        raise DeviceError(
            f"RADV gives no device of family {name} ({problem})",
            wanted="a family that the installed Mesa knows, such as vangogh, navi21 or polaris10",
            fix="choose another family or a newer Mesa",
        )
    found = answers[0]
    narrowest, widest = found["subgroups"]
    return Family(name, found["name"], (narrowest, widest), frozenset(found["missing_features"]))


def compile_kernels(kernels: Sequence[Kernel], family: Family) -> list[CompiledKernel]:
    """Compile every kernel at every subgroup width it may run with on the family.

    A kernel that fails, or crashes the driver, gets its problem in its row; the others go on.
    """
    wanted = [(kernel, width) for kernel in kernels for width in _widths(kernel, family)]
    runnable = [pair for pair in wanted if _refusal(*pair, family) is None]
    lines = dict.fromkeys(_request(*pair) for pair in runnable)
    answers = dict(zip(lines, _compile_all(family.name, list(lines)), strict=True))
    return [
        _row(kernel, width, answers[_request(kernel, width)])
        if (refusal := _refusal(kernel, width, family)) is None
        else CompiledKernel(kernel.name, width, None, refusal=refusal)
        for kernel, width in wanted
    ]


def _widths(kernel: Kernel, family: Family) -> tuple[int, ...]:
    return (kernel.subgroup,) if kernel.subgroup else tuple(dict.fromkeys(family.subgroups))


def _refusal(kernel: Kernel, width: int, family: Family) -> str | None:
    """Return why a Vulkan runtime would not create this pipeline on the family at all."""
    narrowest, widest = family.subgroups
    if not narrowest <= width <= widest:
        return f"subgroups of {width} do not exist here, only {narrowest} to {widest}"
    missing = sorted(family.missing_features.intersection(kernel.requires))
    return f"needs {', '.join(missing)}" if missing else None


def _request(kernel: Kernel, width: int) -> str:
    document = {
        "spirv": base64.b64encode(kernel.spirv).decode(),
        "subgroup": width,
        "full_subgroups": kernel.subgroup > 0,
        "push_constant_bytes": kernel.push_constant_bytes,
        "texts": True,
    }
    return json.dumps(document)


def _compile_all(family: str, lines: list[str]) -> list[dict[str, Any]]:
    """Return an answer a line; what crashes the driver costs a new process, not the run."""
    answers: list[dict[str, Any]] = []
    while len(answers) < len(lines):
        found, complaint = _converse(family, lines[len(answers) :])
        answers += found[1:]
        if len(answers) < len(lines):
            answers.append({"problem": f"the driver crashed: {complaint}"})
    return answers


def _row(kernel: Kernel, width: int, answer: dict[str, Any]) -> CompiledKernel:
    assembly = answer["texts"].get(ASSEMBLY, "") if "texts" in answer else ""
    return CompiledKernel(
        name=kernel.name,
        subgroup=width,
        statistics=read_statistics(answer["statistics"], assembly) if assembly else None,
        problem=_problem(answer, assembly),
        loop_weights=kernel.loop_weights,
        lane_weights=kernel.lane_weights,
        assembly=assembly,
    )


def _problem(answer: dict[str, Any], assembly: str) -> str | None:
    if "problem" in answer:
        return str(answer["problem"])
    return None if assembly else "the driver lists no machine code"


def _converse(family: str, lines: list[str]) -> tuple[list[dict[str, Any]], str]:
    """Start the child, send the lines, return its whole answers and its last complaint."""
    here = Path(__file__).resolve().parent
    limit_seconds = _START_SECONDS + _KERNEL_SECONDS * len(lines)
    try:
        run = subprocess.run(
            [sys.executable, "-m", "radv_child"],
            input="".join(line + "\n" for line in lines),
            env=_environment(family, here),
            capture_output=True,
            text=True,
            timeout=limit_seconds,
            check=False,
        )
        output, complaint = run.stdout, run.stderr or f"exit code {run.returncode}"
    except subprocess.TimeoutExpired as expired:
        output, complaint = _text(expired.stdout), f"no answer within {limit_seconds} s"
    whole = [line for line in output.splitlines(keepends=True) if line.endswith("\n")]
    return [json.loads(line) for line in whole], (complaint.strip().splitlines() or [""])[-1]


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _environment(family: str, folder: Path) -> dict[str, str]:
    """Return an environment in which the loader sees RADV only and RADV nothing of this machine."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VK_", "RADV_", "ACO_", "MESA_", "NIR_", "PYTHON"))
    }
    icd = str(find_radv())
    return kept | {
        "PYTHONPATH": str(folder),
        "VK_ICD_FILENAMES": icd,
        "VK_DRIVER_FILES": icd,
        "VK_LOADER_LAYERS_DISABLE": "~all~",
        "RADV_FORCE_FAMILY": family,
        "MESA_SHADER_CACHE_DISABLE": "true",
    }
