"""The products of a decode step as TVM's own dlight schedules them. Needs the compiler."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tvm
from tvm import relax, te
from tvm.s_tir import dlight

from ferrylm.compile.cuda.architectures import parse_architectures
from ferrylm.compile.cuda.build_hook import ahead_of_time
from ferrylm.compile.cuda.library import cuda_target, export_cuda_library
from ferrylm.compile.library import export_library
from ferrylm.compile.relax_pipeline import lower_relax
from ferrylm.compile.spirv import typed_errors
from ferrylm.compile.vulkan_tiers import TIERS
from ferrylm.runtime.manifest import Parameter
from scripts.weight_product import GROUP, WeightProduct

_HOST = {"kind": "llvm", "mtriple": "x86_64-unknown-linux-gnu", "mcpu": "x86-64"}
_RULES = (
    dlight.gpu.GEMV(), dlight.gpu.Reduction(), dlight.gpu.GeneralReduction(),
    dlight.gpu.Fallback(),
)  # fmt: skip
_PIPELINE = "s_tir"  # TVM's own passes, which its own schedules need


def build(
    products: Iterable[WeightProduct], folder: Path, dtype: str, kind: str, arch: str, tier: str
) -> None:
    """Write a library for each product, and an index of them."""
    folder.mkdir(parents=True, exist_ok=True)
    index: list[dict[str, Any]] = []
    for product in sorted(set(products), key=str):
        name = f"dlight-{len(index)}.so"
        (folder / name).write_bytes(compiled(product, dtype, kind, arch, tier))
        index.append({"library": name, "product": asdict(product)})
    document = {"kind": kind, "dtype": dtype, "products": index}
    (folder / "dlight.json").write_text(json.dumps(document, indent=1))


def products_of(parameters: Iterable[Parameter]) -> Iterator[WeightProduct]:
    """Yield the products of a library's quantized matrices."""
    shapes = {parameter.name: parameter.shape for parameter in parameters}
    for name, shape in shapes.items():
        matrix, _, suffix = name.rpartition(".")
        if suffix == "codes" and len(shape) == 3:
            rows, groups, words = shape
            yield WeightProduct(words, f"{matrix}.minimum" in shapes, rows, groups * GROUP)


def compiled(product: WeightProduct, dtype: str, kind: str, arch: str, tier: str) -> bytes:
    """Return a library with main(x, codes, scales...) as dlight schedules it."""
    target = cuda_target() if kind == "cuda" else _vulkan_target(tier)
    module = tvm.IRModule({"main": _function(product, dtype)})
    with target:
        scheduled = dlight.ApplyDefaultSchedule(*_RULES)(module)["main"]
    builder = relax.BlockBuilder()
    kernel = builder.add_func(scheduled.with_attr("global_symbol", "dlight"), "dlight")
    inputs = [relax.Var("x", relax.TensorType((1, product.columns), dtype))]
    for index, (shape, stored) in enumerate(product.tensors()):
        inputs.append(relax.Var(f"w{index}", relax.TensorType(shape, stored)))
    result = relax.TensorType((1, product.rows), "float32")
    with builder.function("main", inputs):
        with builder.dataflow():
            output = builder.emit_output(relax.call_tir(kernel, inputs, result))
        builder.emit_func_output(output)

    def build_executable() -> Any:
        return relax.build(
            builder.get(), target, relax_pipeline=lower_relax({}), tir_pipeline=_PIPELINE
        )

    if kind == "cuda":
        with ahead_of_time():
            executable = build_executable()
        return export_cuda_library(executable, parse_architectures((arch,)))[0]
    with typed_errors():
        return export_library(build_executable(), "x86_64")


def _function(product: WeightProduct, dtype: str) -> Any:
    """Return y[n] = sum over k of x[k] * weight[n, k], weights unpacked to `dtype`."""
    x = te.placeholder((1, product.columns), dtype, "x")
    stored = [
        te.placeholder(shape, kind, f"w{index}")
        for index, (shape, kind) in enumerate(product.tensors())
    ]
    per_word, middle = 32 // product.bits, product.middle

    def weight(n: Any, k: Any) -> Any:
        shift = tvm.tirx.Cast("uint32", (k % per_word) * product.bits)
        mask = tvm.tirx.const((1 << product.bits) - 1, "uint32")
        code = (stored[0][n, k // per_word] >> shift) & mask
        scaled = code.astype(dtype) - tvm.tirx.const(middle, dtype)
        scaled = scaled * stored[1][n, k // GROUP].astype(dtype)
        return scaled + stored[2][n, k // GROUP].astype(dtype) if product.minimum else scaled

    w = te.compute((product.rows, product.columns), weight, "weight")
    k = te.reduce_axis((0, product.columns), "k")
    y = te.compute(
        (1, product.rows),
        lambda i, n: te.sum(x[i, k].astype("float32") * w[n, k].astype("float32"), axis=k),
        "y",
    )
    return te.create_prim_func([x, *stored, y])


def _vulkan_target(tier: str) -> Any:
    options = {**TIERS[tier].tvm_target(), "supports_float16": True, "supports_16bit_buffer": True}
    return tvm.target.Target(options, host=tvm.target.Target(_HOST))
