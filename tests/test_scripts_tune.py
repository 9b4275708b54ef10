"""scripts/tune.py: candidates are built, checked and timed, and the table is rewritten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferrylm.compile.cuda.tiers import TIERS as CUDA
from ferrylm.errors import UsageError
from ferrylm.runtime.backends import probe_kind
from ferrylm.runtime.device_bandwidth import DeviceBandwidth
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import WeightFormat
from ferrylm.schedules.gpu.matvec_grid import MatvecTile, Product
from ferrylm.schedules.gpu.tiles import matvec_tile
from scripts import tune, tune_candidates, tune_run
from scripts.tune_product import TunedProduct

DOT = "vulkan-subgroup8-dot"
FORMAT = WeightFormat(96, 288, "q4", True, "int16")
PRODUCTS = [
    Product(Rows(1, 1), FORMAT, "plain", 1e-5),
    Product(Rows(2, 2), FORMAT, "residual", None, 2, gained=True),
    Product(Rows(1, 1), replace(FORMAT, storage="q8", minimum=False), "swiglu", 1e-5, 2),
]


@pytest.fixture(scope="module", autouse=True)
def no_bandwidth() -> Iterator[None]:
    """The measurement of the bandwidth has its own tests and takes a second."""
    with pytest.MonkeyPatch.context() as patched:
        found = DeviceBandwidth(10.0, "made up")
        patched.setattr(tune_run, "measure_device_bandwidth", lambda *_: found)
        yield


def needs_vulkan() -> None:
    probe = probe_kind("vulkan")
    if not probe.devices:
        pytest.skip(f"no Vulkan device: {probe.problem}")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    tune_candidates.build(folder, DOT, PRODUCTS, 3, 0, "")
    return folder


@pytest.fixture(scope="module")
def results(built: Path) -> dict[str, Any]:
    needs_vulkan()
    return tune_run.run(built, "vulkan", 1, 10_000)


def test_every_candidate_is_right_and_timed(results: dict[str, Any]) -> None:
    assert [product["name"] for product in results["products"]] == [
        "normed_plain_q4m_int16_96x288_batch1",
        "residual_prepared_q4m_int16_96x288_batch2",
        "normed_swiglu_prepared_q8_int16_96x288_batch1",
    ]
    for product in results["products"]:
        assert len(product["candidates"]) == 3
        for candidate in product["candidates"]:
            assert candidate["error"] < tune_run.LARGEST_ERROR
            assert candidate["us"] > 0


def test_the_first_candidate_is_the_tile_of_today(results: dict[str, Any]) -> None:
    profile = tune_candidates.profile_of(DOT)
    for product, found in zip(PRODUCTS, results["products"], strict=True):
        assert found["candidates"][0]["tile"] == asdict(matvec_tile(profile, product))


def test_a_candidate_with_wrong_results_is_not_timed(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_vulkan()
    right = TunedProduct.expected

    def wrong(self: TunedProduct, *inputs: Any) -> Any:
        found: Any = right(self, *inputs)
        return found * 1.001

    monkeypatch.setattr(TunedProduct, "expected", wrong)
    for product in tune_run.run(built, "vulkan", 1, 10_000)["products"]:
        assert all(one["error"] > tune_run.LARGEST_ERROR for one in product["candidates"])
        assert not [one for one in product["candidates"] if "us" in one]


def test_candidates_of_another_kind_of_device_are_refused(built: Path) -> None:
    with pytest.raises(UsageError, match="not for cuda"):
        tune_run.run(built, "cuda", 1, 10_000)


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(UsageError, match="cuda-sm90"):
        tune_candidates.profile_of("cuda-sm12")


def test_candidates_differ_leave_no_lane_idle_and_make_whole_groups() -> None:
    profile = CUDA["sm90"].profile
    product = Product(
        Rows(1, 1), WeightFormat(4096, 4096, "q4", False, "int16"), "residual", None, 2, True
    )
    found = tune_candidates.candidates(profile, product, 1000, 0)
    assert found[0] == matvec_tile(profile, product)
    assert len(set(found)) == len(found) > 20
    for tile in found[1:]:
        assert tile.rows * tile.subgroups // tile.split % 32 == 0
        assert tile.split * tile.unroll * (1 + tile.ahead) * 32 <= 4096 // 32
    assert tune_candidates.candidates(profile, product, 7, 0) == found[:7]


def test_a_candidate_that_spills_is_dropped_before_it_runs() -> None:
    fmt, profile = WeightFormat(512, 2048, "q8", False, "int16"), CUDA["sm90"].profile
    wide, narrow = (Product(Rows(n, n), fmt, "plain") for n in (8, 1))
    kernels = {
        "c0": tune_candidates._kernel(profile, wide, MatvecTile(32, 8, 1, 2)),
        "c1": tune_candidates._kernel(profile, narrow, MatvecTile(2, 2)),
    }
    _, dropped = tune_candidates.compiled(kernels, "cuda-sm90", "90a")
    assert list(dropped) == ["c0"]
    assert "spills" in dropped["c0"]


def candidate(us: float | None, *fields: Any) -> dict[str, Any]:
    return {"tile": asdict(MatvecTile(*fields))} | ({} if us is None else {"us": us})


def found_results(*candidates: dict[str, Any]) -> dict[str, Any]:
    products = [{"name": "plain_q4_int16_64x64_batch1", "candidates": list(candidates)}]
    return {"format": tune.RESULTS, "version": 1, "target": "cuda-sm90", "products": products}


def test_the_fastest_tile_is_taken_where_it_gains_enough() -> None:
    today, other = candidate(10.0, 4, 2), candidate(9.0, 8, 4, 2, 2, True)
    assert tune.best_tiles(found_results(today, other)) == {
        "plain_q4_int16_64x64_batch1": asdict(MatvecTile(8, 4, 2, 2, True))
    }
    assert tune.best_tiles(found_results(today, candidate(9.95, 8, 4))) == {}
    assert tune.best_tiles(found_results(candidate(None, 4, 2), other)) != {}
    assert tune.best_tiles(found_results(candidate(None, 4, 2))) == {}


def test_a_file_that_holds_no_results_is_refused() -> None:
    with pytest.raises(UsageError, match="no results"):
        tune.best_tiles({"format": "something"})
    with pytest.raises(UsageError, match="without the table"):
        tune.rewritten("x = 1\n", {})


def test_apply_rewrites_the_table_and_nothing_else(tmp_path: Path) -> None:
    table, results = tmp_path / "table.py", tmp_path / "results.json"
    before = tune.TABLE.read_text()
    table.write_text(before)
    faster = candidate(9.0, 8, 4, 2, 2, True)
    results.write_text(json.dumps(found_results(candidate(10.0, 4, 2), faster)))
    tune.apply(results, table)
    names: dict[str, Any] = {}
    exec(table.read_text(), names)
    tile = names["TUNED"]["cuda-sm90"]["plain_q4_int16_64x64_batch1"]
    assert tile == MatvecTile(8, 4, 2, 2, True)
    assert "MatvecTile(8, 4, split=2, unroll=2, ahead=True)" in table.read_text()
    assert table.read_text().partition("TUNED: ")[0] == before.partition("TUNED: ")[0]
    assert tune.rewritten(table.read_text(), {}).endswith(
        "TUNED: dict[str, dict[str, MatvecTile]] = {}\n"
    )
    assert tune.TABLE.read_text() == before


def test_results_that_contradict_themselves_are_wrong() -> None:
    product = TunedProduct(
        "x", "q4", False, 2, 64, 64, "residual", None, prepared=True, gained=True, batch=1
    )
    random = np.random.default_rng(0)
    weights, x = product.weights(random), product.activations(random)
    others = product.others(random)
    expected = product.expected(x, weights, others)
    found = [np.zeros(shape, dtype) for shape, dtype in product.results()]
    found[0][:] = expected
    found[2][..., 1] = 7  # a sum that is not that of the codes
    assert product.error(found, expected, others) == float("inf")
