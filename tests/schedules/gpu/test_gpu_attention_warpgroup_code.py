from __future__ import annotations

import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from ferrylm.compile.cuda.packing import FatBinary
from ferrylm.compile.cuda.resources import kernel_resources
from ferrylm.compile.cuda.toolkit import find_program
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.attention_warpgroup import warpgroup_prefill_attention
from ferrylm.schedules.gpu.attention_warpgroup_plan import TILES, WarpgroupPlan
from ferrylm.schedules.gpu.tiles import ROW_TILE
from tests.compile.cuda.cuda_builds import build_library

MOST_SHARED = 227 << 10  # of a workgroup; CUDA C++ Programming Guide
PLANS = {
    f"heads_of_{head}": WarpgroupPlan(AttentionShape(8, 2, head, "float16"), tile)
    for head, tile in TILES.items()
}
NAMES = sorted(PLANS)


@pytest.fixture(scope="module")
def built() -> FatBinary:
    """Return the code of the kernels for sm_90a."""
    functions = [
        warpgroup_prefill_attention(Rows(ROW_TILE), plan).with_attr("global_symbol", name)
        for name, plan in PLANS.items()
    ]
    return build_library(functions, "90a")[1]


@pytest.fixture(scope="module")
def listings(built: FatBinary, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return each kernel's instructions in order."""
    path = Path(tmp_path_factory.mktemp("code")) / "kernels.fatbin"
    path.write_bytes(built.code)
    command = [str(find_program("cuobjdump")), "-sass", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found: dict[str, list[str]] = {}
    for part in text.split("Function : ")[1:]:
        name = part.split(maxsplit=1)[0].removesuffix("_kernel")
        found[name] = re.findall(r"/\*[0-9a-f]{4,5}\*/\s+(.*?) ;", part)
    return found


def test_all_numbers_of_a_step_stay_in_registers(built: FatBinary) -> None:
    for found in kernel_resources(built.code):
        plan = PLANS[found.kernel.removesuffix("_kernel")]
        assert found.spill_instructions == 0, plan
        assert found.stack_bytes == 0, plan
        assert found.registers * plan.threads <= 65536, plan
        assert found.mnemonics["USETMAXREG"] == 2, plan


@pytest.mark.parametrize("name", NAMES)
def test_registers_and_shared_memory_are_those_of_a_multiprocessor(name: str) -> None:
    plan = PLANS[name]
    held = plan.copy_registers + plan.tile.groups * plan.group_registers
    assert held * 128 <= 65536
    assert plan.near_words * 4 + 1024 <= MOST_SHARED


@pytest.mark.parametrize("name", NAMES)
def test_products_run_in_the_background_of_a_softmax(
    name: str, listings: dict[str, list[str]]
) -> None:
    plan, lines = PLANS[name], listings[name]
    # The first step's scores, two loops of scores and sums, the last step's sums.
    scores, sums = plan.head_dim // 16, plan.tokens // 16
    assert sum("HGMMA" in line for line in lines) == 3 * (scores + sums)
    assert sum("WARPGROUP" in line for line in lines) == 6 + 6
    waits = [i for i, line in enumerate(lines) if "WARPGROUP.DEPBAR" in line]
    pairs = [
        (one, two) for one, two in pairwise(waits) if "0x1" in lines[one] and "0x0" in lines[two]
    ]
    assert len(pairs) == 2, "each loop waits for scores, then for sums"
    for one, two in pairs:
        weights = sum("MUFU.EX2" in line for line in lines[one:two])
        assert weights >= plan.scores, "weights are made between the two"
