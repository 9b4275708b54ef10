from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import groups
from ferrylm.schedules.gpu.matvec import MatvecTile, matvec
from ferrylm.schedules.gpu.tiles import ROW_TILE, matvec_tile
from tests.numeric_gates import FP32, nmse
from tests.schedules.gpu import gpu_data as data
from tests.schedules.gpu.machines import CUDA, VULKAN, Machine
from tests.schedules.gpu.product_cases import FORMATS, UGLY, Case, Inputs, check_codes
from tests.schedules.gpu.vulkan_runner import DOT, build, run

CASES = [
    Case(*UGLY[epilogue], *fmt, epilogue)  # type: ignore[arg-type]
    for fmt in FORMATS
    for epilogue in UGLY
]
CASES += [
    Case(101, 100, "q4", False, "int16", "plain", normed=True),
    Case(136, 100, "q4", True, "int16", "swiglu", normed=True, prepared=True),
    Case(72, 720, "q8", False, "int16", "residual", prepared=True),
    Case(72, 720, "q4", False, "int8", "residual", prepared=True),
    Case(64, 1024, "q4", False, "int16", "plain", normed=True, tile=MatvecTile(4, 4, 2)),
    Case(64, 1024, "q4", True, "int16", "plain", tile=MatvecTile(4, 2, 1, 2, ahead=True)),
    Case(64, 1000, "q4", False, "int16", "plain", tile=MatvecTile(4, 2, 2, 2, ahead=True)),
    Case(64, 96, "f16", False, "f32", "plain", tile=MatvecTile(4, 4, 2)),
    # Half a subgroup has rows of its own.
    Case(64, 1024, "q4", False, "int16", "plain", normed=True, tile=MatvecTile(8, 4, lanes=4)),
    Case(72, 1000, "q8", False, "int16", "plain", tile=MatvecTile(8, 2, 2, 2, lanes=4)),
    Case(64, 96, "f16", False, "f32", "plain", tile=MatvecTile(4, 4, 2, lanes=4)),
    Case(136, 100, "q4", True, "f32", "swiglu", tile=MatvecTile(4, 2, lanes=4)),
    Case(
        *(96, 1024, "q4", False, "int16", "swiglu"),
        normed=True,
        prepared=True,
        tile=MatvecTile(16, 4, lanes=4),
    ),
    Case(101, 100, "q4", False, "int16", "bias", normed=True),
    Case(136, 100, "q4", True, "int16", "geglu", normed=True, prepared=True),
    Case(136, 100, "f16", False, "f32", "geglu"),
    Case(101, 100, "q8", False, "int16", "capped", normed=True),
    Case(101, 100, "q4", False, "f32", "capped", lanes=True),
    Case(136, 100, "q4", False, "f32", "geglu", lanes=True),
    Case(96, 1024, "q8", False, "int8", "bias", tile=MatvecTile(4, 4, 2)),
    Case(101, 100, "q4", True, "f32", "bias"),
    Case(101, 100, "f16", False, "f32", "bias"),
    Case(101, 100, "q4", True, "f32", "plain", lanes=True),
    Case(101, 100, "q8", False, "f32", "bias", lanes=True),
    Case(72, 108, "q4", False, "f32", "residual", lanes=True),
    Case(136, 100, "q8", False, "f32", "swiglu", lanes=True),
    Case(
        *(96, 1024, "q4", False, "int16", "residual"),
        prepared=True,
        tile=MatvecTile(16, 4, 2, 2, ahead=True),
    ),
]


CUDA_CASES = [
    Case(*UGLY["plain"], "q4", False, "int16", "plain", normed=True),
    Case(*UGLY["residual"], "q4", True, "int16", "residual", prepared=True),
    Case(*UGLY["swiglu"], "q8", False, "int16", "swiglu", normed=True, prepared=True),
    Case(*UGLY["residual"], "q4", False, "int8", "residual"),
    Case(101, 100, "q4", True, "int16", "bias", normed=True),
    Case(136, 100, "q4", False, "int16", "geglu", normed=True, prepared=True),
    Case(101, 100, "f32", False, "f32", "bias"),
    Case(101, 100, "q4", False, "int16", "capped", normed=True),
    Case(*UGLY["plain"], "q4", True, "f32", "plain"),
    Case(*UGLY["swiglu"], "f16", False, "f32", "swiglu"),
    Case(72, 9000, "q4", False, "int16", "residual"),  # several subgroups share a row
    Case(64, 5000, "q4", True, "int16", "residual", prepared=True),  # loaded ahead
]


@pytest.mark.parametrize(
    ("machine", "case"),
    [(VULKAN, case) for case in CASES] + [(CUDA, case) for case in CUDA_CASES],
    ids=str,
)
def test_products_of_every_format_keep_the_gate(machine: Machine, case: Case) -> None:
    profile = machine.dot if case.format.integer else machine.plain
    profile = replace(profile, rows_in_lanes=case.lanes)
    whole = Inputs(case, 2 * ROW_TILE)
    rows_of = {1: Rows(1, 1), 2: Rows(2, 2), None: Rows(ROW_TILE)}
    functions = {}
    for batch, rows in rows_of.items():
        product = case.product(rows)
        tile = case.tile or matvec_tile(profile, product)
        functions[f"batch_{batch}"] = matvec(
            product, tile, profile.subgroup, overlap=profile.overlap, rows_in_lanes=case.lanes
        )
    built = machine.build(functions)
    expected = whole.expected()
    for batch in rows_of:
        part = slice(0, batch or whole.m)
        m = batch or whole.m
        found = machine.run(built[f"batch_{batch}"], whole.arguments(part), whole.results(m))
        if case.product(rows_of[batch]).kept:
            y = found[0]
            assert nmse(y[:, : whole.outputs], expected[part]) <= FP32.matmul_nmse, batch
            assert (y[:, whole.outputs :] == 0).all()
        if case.prepared:
            gain = whole.gain if case.epilogue == "residual" else np.ones(whole.outputs)
            check_codes(case, expected[part] * gain, found[-2], found[-1])
            squares = np.zeros((m, groups(whole.outputs) * 32))
            squares[:, : whole.outputs] = expected[part] ** 2
            wanted = squares.reshape(m, -1, 32).sum(axis=2)
            np.testing.assert_allclose(data.squares_of(found[-1]), wanted, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("storage", ["q4", "q8"])
def test_codes_at_their_limits_neither_saturate_nor_wrap(storage: str) -> None:
    case = Case(8, 128, storage, False, "int16", "plain")
    inputs = Inputs(case, 1)
    inputs.canonical["codes"] = np.full_like(
        inputs.canonical["codes"], 0xFF if storage == "q4" else -128
    )
    inputs.canonical["scale"] = np.ones_like(inputs.canonical["scale"])
    values = np.full((1, 128), data.LARGEST[2])
    scales = np.ones((1, 4), np.float32)
    inputs.activations = [data.codes_of(values, 2), data.terms_of(values, scales, scales)]
    inputs.x = values.astype(np.float64)
    product = case.product(Rows(1, 1))
    built = build({"kernel": matvec(product, matvec_tile(DOT, product), DOT.subgroup)})
    found = run(built["kernel"], inputs.arguments(slice(0, 1)), inputs.results(1))[0]
    np.testing.assert_allclose(found[:, :8], inputs.expected(), rtol=1e-6)


def test_a_tile_whose_workgroup_has_no_whole_groups_is_refused() -> None:
    case = Case(72, 720, "q4", False, "int16", "residual", prepared=True)
    with pytest.raises(ValueError, match="whole groups"):
        matvec(case.product(Rows(1, 1)), MatvecTile(4, 2), 8)


def test_every_tile_of_the_tables_fits_narrow_and_wide_matrices() -> None:
    for width in (16, 32, 64):
        profile = replace(DOT, subgroup=width)
        for columns in (32, 896, 4096, 14336):
            for rows in (64, 4096, 28672, 128256):
                for prepared in (False, True):
                    case = Case(rows, columns, "q4", False, "int16", "residual", prepared=prepared)
                    for batch in (1, 8):
                        product = case.product(Rows(batch, batch))
                        tile = matvec_tile(profile, product)
                        assert tile.subgroups * width <= 1024
