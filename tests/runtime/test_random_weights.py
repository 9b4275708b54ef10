from __future__ import annotations

import hashlib

import numpy as np
import pytest

from ferrylm.compile.quantize import SCHEMES, decode, tensor_layout
from ferrylm.runtime.manifest import TensorEntry
from ferrylm.runtime.random_weights import random_tensor

ROWS, COLUMNS = 300, 320


def entries(scheme: str, name: str = "layers.0.qkv") -> dict[str, TensorEntry]:
    layout = tensor_layout(scheme, ROWS, COLUMNS)
    found = {
        f"{name}.{suffix}": TensorEntry(f"{name}.{suffix}", dtype, shape, None)
        for suffix, (dtype, shape) in layout.items()
    }
    return found | {"final_norm": TensorEntry("final_norm", "float32", (COLUMNS,), None)}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_look_like_trained_ones(scheme: str) -> None:
    table = entries(scheme)
    arrays = {
        name.rpartition(".")[2]: random_tensor(name, table, 0)
        for name in table
        if name != "final_norm"
    }
    for name, entry in table.items():
        found = random_tensor(name, table, 0)
        assert (str(found.dtype), found.shape) == (entry.dtype, entry.shape)
    weights = decode(arrays, scheme, COLUMNS)
    assert np.isfinite(weights).all()
    assert 0.018 < weights.std() < 0.023
    assert abs(weights.mean()) < 3e-3  # the codes of q4 go from -8 to 7
    assert (random_tensor("final_norm", table, 0) == 1).all()


def test_seed_and_name_decide_the_content() -> None:
    table = entries("q4f16") | entries("q4f16", "layers.1.qkv")
    first = random_tensor("layers.0.qkv.codes", table, 0)
    np.testing.assert_array_equal(first, random_tensor("layers.0.qkv.codes", table, 0))
    for name, seed in (("layers.0.qkv.codes", 1), ("layers.1.qkv.codes", 0)):
        assert (first != random_tensor(name, table, seed)).any()


def test_the_content_is_the_same_on_every_machine() -> None:
    # An artifact of random weights holds none: its id promises these very bytes.
    digest = hashlib.sha256()
    for scheme in SCHEMES:
        for name in (table := entries(scheme)):
            digest.update(random_tensor(name, table, 7).tobytes())
    assert digest.hexdigest() == "c650ee447355c60f361f13c72ee5cc5397f18988a7ebfc73d658928181522d88"
