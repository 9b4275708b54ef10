"""Products whose workgroups quantize the activations themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.activations import quantize
from ferrylm.schedules.gpu.layout import WeightFormat
from ferrylm.schedules.gpu.matvec import MatvecTile, Product, matvec
from tests.schedules.gpu import gpu_data as data
from tests.schedules.gpu.machines import CUDA, VULKAN, Machine
from tests.schedules.packed_weights import canonical_weights

# Columns of whole groups, of a group in part, and more than a workgroup's lanes quantize in a turn.
SHAPES = {"whole": (64, 96), "ragged": (72, 100), "several turns": (40, 720)}
TILES = {"plain": MatvecTile(2, 2), "swiglu": MatvecTile(8, 8, ahead=True)}


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("machine", [CUDA, VULKAN], ids=str)
def test_bits_are_those_of_activations_that_a_kernel_before_quantized(
    machine: Machine, shape: tuple[int, int], rows: int
) -> None:
    fmt = WeightFormat(*shape, "q4", False, "int16")
    profile, width = machine.dot, fmt.columns
    x, gain = data.random_rows(rows, width, 1), data.random_rows(1, width, 2)[0, :width]
    weights = data.weights(canonical_weights("q4", False, *shape))
    for epilogue, tile in TILES.items():
        given = Product(Rows(rows, rows), fmt, epilogue, 1e-5, 2 * (epilogue == "swiglu"))
        functions = {
            "quantize": quantize(given.rows, given.inputs, 64, profile.subgroup, gained=True),
            "given": matvec(given, tile, profile.subgroup, overlap=profile.overlap),
            "own": matvec(
                replace(given, rounds=True), tile, profile.subgroup, overlap=profile.overlap
            ),
        }
        built = machine.build(functions)
        inputs = [
            (given.inputs.codes_shape(rows), "uint32"),
            (given.inputs.terms_shape(rows), "uint32"),
        ]
        results = [
            (given.results.codes_shape(rows), "uint32"),
            (given.results.terms_shape(rows), "uint32"),
        ]
        if epilogue == "plain":
            results = [((rows, data.zero_rows(1, fmt.rows, 0).shape[1]), "float32")]
        activations = machine.run(built["quantize"], [x, gain], inputs)
        expected = machine.run(built["given"], [*activations, *weights], results)
        found = machine.run(built["own"], [x, gain, *weights], results)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))
        assert any(other.any() for other in expected)
