"""Tiles that were chosen by measurement."""

from __future__ import annotations

import pytest

from ferrylm.compile.cuda.tiers import TIERS as CUDA
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu import matvec_choice
from ferrylm.schedules.gpu.layout import WeightFormat
from ferrylm.schedules.gpu.matvec_choice import product_name, tuned_tile
from ferrylm.schedules.gpu.matvec_grid import MatvecGrid, MatvecTile, Product
from ferrylm.schedules.gpu.matvec_tuned import TUNED
from ferrylm.schedules.gpu.tiles import matvec_tile

QKV = WeightFormat(6144, 4096, "q4", False, "int16")
PROFILE = CUDA["sm90"].profile


def test_a_measured_tile_goes_before_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    product = Product(Rows(1, 1), QKV, "plain", 1e-5)
    name, odd = "normed_plain_q4_int16_6144x4096_batch1", MatvecTile(2, 8, 2, 1)
    assert product_name(product) == name
    monkeypatch.setattr(matvec_choice, "TUNED", {"cuda-sm90": {name: odd}})
    assert tuned_tile(PROFILE, product) == matvec_tile(PROFILE, product) == odd
    assert matvec_tile(CUDA["sm75"].profile, product) != odd
    assert matvec_tile(PROFILE, Product(Rows(2, 2), QKV, "plain", 1e-5)) != odd


@pytest.mark.parametrize(
    ("product", "name"),
    [
        (
            Product(Rows(8, 8), QKV, "swiglu", 1e-5, 2),
            "normed_swiglu_prepared_q4_int16_6144x4096_batch8",
        ),
        (Product(Rows(8), QKV, "residual"), "residual_q4_int16_6144x4096_prefill"),
    ],
)
def test_a_product_is_named_as_its_kernel(product: Product, name: str) -> None:
    assert product_name(product) == name


@pytest.mark.parametrize("target", TUNED)
def test_every_tile_of_the_table_makes_whole_groups_of_outputs(target: str) -> None:
    for name, tile in TUNED[target].items():
        rows, columns = map(int, name.rsplit("_", 2)[1].split("x"))
        pairs, prepared = "swiglu" in name, "prepared" in name
        fmt = WeightFormat(rows, columns, "q4", False, "int16")
        epilogue = "swiglu" if pairs else "plain"
        grid = MatvecGrid(Product(Rows(1, 1), fmt, epilogue, None, 2 * prepared), tile, 32)
        assert grid.threads <= 1024, name
