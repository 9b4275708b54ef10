"""A kernel that is made wrong on purpose is named by `verify`, and no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_artifacts
from golden_changes import cases_of, checks_of, checks_of_case, failed, golden_document
from kernel_faults import inject, nodes, shorter, stores
from tvm import tirx
from tvm.ir.expr import TensorLoad
from tvm_ffi import structural_map

from ferrylm.runtime import attention_replay
from ferrylm.runtime.executable import Executable


def int_value(expression: Any) -> int | None:
    return int(expression) if isinstance(expression, tirx.IntImm) else None


def last_group_negative(value: Any) -> Any:
    """Turn the sign of what the last of three groups adds to an accumulator."""
    loads: list[Any] = []
    structural_map(value.b, (TensorLoad, lambda load: loads.append(load) or load))
    group = next(load.indices[1] for load in loads if str(load.source.name) == "scale")
    return value.a + tirx.Select(tirx.EQ(group, 2), -value.b, value.b)


def small_mask(node: Any) -> Any:
    return tirx.IntImm(str(node.ty.dtype), 7)


def of_first_group(load: Any) -> Any:
    return tirx.BufferLoad(load.source, [load.indices[0], 0, load.indices[2]])


def masks(change: Any) -> Any:
    return nodes(tirx.Select, lambda n: "positions" in str(n.condition), change)


# Pattern of a kernel's name -> what is done to it: each a mistake that a schedule may hold.
FAULTS = {
    "embed*batch1": stores("scale[", lambda value: -value),
    "embed*batch4": nodes(TensorLoad, lambda n: str(n.source.name) == "scale", of_first_group),
    "norm_swiglu*batch1": nodes(tirx.IntImm, lambda n: int(n) == 15, small_mask),
    "norm_plain*160x72_batch1": stores("scale[", last_group_negative),
    "norm_plain*160x72_batch2": stores("nearbyint", lambda value: value + 1),
    "norm_plain*283x72_batch4": nodes(
        tirx.FloatImm,
        lambda n: abs(n.value - 1e-5) < 1e-8,
        lambda n: tirx.FloatImm("float32", 0.01),
    ),
    "residual*72x104_batch2": shorter(
        lambda loop: int_value(loop.extent) == 4 and "scale[" in str(loop)
    ),
    "residual*72x96_batch1": stores("residual[", lambda value: value.a),
    "norm_swiglu*batch2": shorter(lambda loop: loop.kind == tirx.ForKind.PARALLEL),
    "rope_attention*batch1": stores(
        "sin[", lambda value: value.a + value.b if isinstance(value, tirx.Sub) else value
    ),
    "rope_attention*batch2": masks(
        lambda n: tirx.Select(n.condition.a <= n.condition.b + 1, n.true_value, n.false_value)
    ),
    "rope_attention*batch4": masks(
        lambda n: tirx.Select(n.condition.a < n.condition.b, n.true_value, n.false_value)
    ),
    "rope_attention_prefill": stores(
        "where[2] =", lambda value: tirx.FloorMod(value.a + 1, value.b)
    ),
    "select_row_prefill": stores(
        "row[", lambda value: tirx.BufferLoad(value.source, [0, value.indices[1]])
    ),
}


def test_each_wrong_kernel_is_named_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = inject(monkeypatch, FAULTS)
    checks = checks_of(tiny_artifacts.compile_tiny(tmp_path, arithmetic="int8"))
    kernels = {name for name in failed(checks) if name.startswith("kernel ")}
    assert kernels == {f"kernel {name}" for name in changed.values()}
    assert "greedy trace" in failed(checks)


def test_weights_packed_in_the_wrong_order_fail_every_kernel_that_uses_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = Executable.transform

    def swapped(self: Executable, name: str) -> Callable[..., None]:
        pack = original(self, name)

        def run(source: Any, target: Any) -> None:
            codes = np.from_dlpack(source)
            if codes.dtype == np.uint8:
                codes[...] = codes >> 4 | codes << 4
            pack(source, target)

        return run

    monkeypatch.setattr(Executable, "transform", swapped)
    checks = checks_of(tiny_artifacts.shared_artifact())
    wrong = failed(checks)
    golden = golden_document(tiny_artifacts.shared_artifact())
    linear = [
        check for case in cases_of(golden, "linear") for check in checks_of_case(golden, case)
    ]
    kernels = [kernel for check in linear for kernel in check["kernels"]]
    assert {f"kernel {kernel}" for kernel in kernels} < wrong
    assert any(name.startswith("kernel norm_swiglu") for name in wrong)
    assert not any("rope" in name or "select" in name or "q8" in name for name in wrong)
    details = [check.detail for check in checks if "residual" in check.name]
    assert all("packed by pack_" in detail for detail in details), details
    assert "greedy trace" in wrong


def test_rope_tables_that_turn_the_other_way_fail_attention_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = attention_replay.model_tables

    def backwards(*arguments: Any) -> Any:
        cosines, sines = original(*arguments)
        return cosines, -sines

    monkeypatch.setattr(attention_replay, "model_tables", backwards)
    wrong = failed(checks_of(tiny_artifacts.shared_artifact()))
    assert len(wrong) == 5
    assert all(name.startswith("kernel rope_attention") for name in wrong)
