"""What a product loads before the kernel before it has ended, and what right after."""

from __future__ import annotations

from typing import Any

import pytest

from ferrylm.compile.cuda.tiers import TIERS
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import WeightFormat
from ferrylm.schedules.gpu.matvec import Product, matvec
from ferrylm.schedules.gpu.tiles import matvec_tile

PROFILE = TIERS["sm90"].profile
WAIT = "ferrylm.grid_dependency_wait"
SHAPES = {"one step of columns": (64, 896), "several steps": (64, 14336)}


def script(rows: int, columns: int, epilogue: str, **more: Any) -> str:
    """Return a product of one row as text, up to where subgroups or lanes exchange anything."""
    fmt = WeightFormat(rows, columns, "q4", False, "int16")
    product = Product(Rows(1, 1), fmt, epilogue, **more)
    tile = matvec_tile(PROFILE, product)
    text = str(matvec(product, tile, PROFILE.subgroup, overlap=True).script())
    return text[: text.index("ferrylm.subgroup_add")]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_weights_are_on_their_way_before_a_product_waits(shape: tuple[int, int]) -> None:
    before, after = script(*shape, "residual", parts=2, gained=True).split(WAIT)
    for name in ("codes[", "scale[", "gain["):
        assert name in before, name
    for name in ("x_codes[", "x_terms[", "residual["):
        assert name not in before.replace(f"y_{name}", ""), name
        assert name in after, name


def test_a_bias_is_a_weight_that_arrives_during_the_wait() -> None:
    before, after = script(101, 96, "bias", eps=1e-5).split(WAIT)
    assert "residual[" in before  # the name of what is added
    assert "residual[" not in after
