from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrylm.compile.weight_plan import TensorSpec, plan_weights
from ferrylm.errors import CompileError

SIZES = st.lists(st.integers(1, 300), max_size=20)


@given(SIZES, st.integers(1, 1000))
@settings(max_examples=200, deadline=None)
def test_shards_keep_the_order_and_the_limit(sizes: list[int], shard_bytes: int) -> None:
    specs = [TensorSpec(f"t{i}", "uint8", (size,)) for i, size in enumerate(sizes)]
    plan = plan_weights(specs, shard_bytes)
    assert [spec for shard in plan.shards for spec in shard.tensors] == specs
    assert [tensor.name for tensor in plan.tensors] == [spec.name for spec in specs]
    for index, shard in enumerate(plan.shards):
        data_bytes = sum(spec.size_bytes for spec in shard.tensors)
        assert data_bytes <= shard_bytes or len(shard.tensors) == 1
        assert shard.size_bytes == len(shard.prefix) + data_bytes
        if index:
            before = sum(spec.size_bytes for spec in plan.shards[index - 1].tensors)
            assert before + shard.tensors[0].size_bytes > shard_bytes
    assert plan.size_bytes == sum(shard.size_bytes for shard in plan.shards)


@given(SIZES)
@settings(max_examples=100, deadline=None)
def test_the_data_begins_at_a_multiple_of_64_bytes(sizes: list[int]) -> None:
    specs = [TensorSpec(f"t{i}", "float16", (size,)) for i, size in enumerate(sizes)]
    for shard in plan_weights(specs).shards:
        assert len(shard.prefix) % 64 == 0
        assert struct.unpack("<Q", shard.prefix[:8]) == (len(shard.prefix) - 8,)


def test_no_tensors_make_no_shards() -> None:
    assert plan_weights([]).shards == ()


def test_a_name_twice_is_refused() -> None:
    spec = TensorSpec("a", "uint8", (1,))
    with pytest.raises(CompileError, match="two tensors named a"):
        plan_weights([spec, spec])


def test_a_dtype_that_artifacts_do_not_hold_is_refused() -> None:
    with pytest.raises(CompileError, match="bfloat16"):
        plan_weights([TensorSpec("a", "bfloat16", (1,))])
