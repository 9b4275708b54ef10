"""Time the products of a decode step beside those that TVM's own dlight schedules make.

usage: python scripts/compare_dlight.py times.json [--device cuda|vulkan[:N]] [--arch 90a]
           [--dtype float16|float32] [--repetitions N]

times.json is what `ferry bench DIR --kernels --json` wrote on the same device. For each product of
4-bit or 8-bit weights with one row of activations in it, the same function (unpack, scale, sum) is
scheduled by dlight, compiled, and timed on weights that no cache holds. Needs the compiler.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax, te
from tvm.s_tir import dlight

from ferrylm.compile.cuda.architectures import parse_architectures
from ferrylm.compile.cuda.build_hook import ahead_of_time
from ferrylm.compile.cuda.library import cuda_target, export_cuda_library
from ferrylm.compile.library import export_library
from ferrylm.compile.relax_pipeline import lower_relax
from ferrylm.compile.spirv import typed_errors
from ferrylm.compile.vulkan_tiers import TIERS
from ferrylm.report.measurement import KernelTotal, MeasuredStep, read_measurement
from ferrylm.runtime.backends import open_backend, probe_kind
from ferrylm.runtime.device_bandwidth import measure_device_bandwidth

_PRODUCT = re.compile(r"_(q4|q8)(m?)_(\w+?)_(\d+)x(\d+)_batch1$")
_HOST = {"kind": "llvm", "mtriple": "x86_64-unknown-linux-gnu", "mcpu": "x86-64"}
_RULES = (
    dlight.gpu.GEMV(), dlight.gpu.Reduction(), dlight.gpu.GeneralReduction(),
    dlight.gpu.Fallback(),
)  # fmt: skip
_PIPELINE = "s_tir"  # TVM's own passes, which its own schedules need
_GROUP, _COLD_BYTES, _MOST_COPIES = 32, 512 << 20, 256
_AHEAD_SECONDS_A_CALL = 60e-6  # of the host; the device is kept busy for so long before


@dataclass(frozen=True)
class Product:
    """A matrix of a decode step: `bits` of a weight, with a minimum for each group or not."""

    bits: int
    minimum: bool
    rows: int
    columns: int

    def tensors(self) -> list[tuple[tuple[int, ...], str]]:
        """Return shapes and dtypes of codes, scales, and minimums where there are any."""
        groups = self.columns // _GROUP
        scales = [((self.rows, groups), "float16")] * (2 if self.minimum else 1)
        return [((self.rows, groups * self.bits), "uint32"), *scales]

    def function(self, dtype: str) -> Any:
        """Return y[n] = sum over k of x[k] * weight[n, k], weights unpacked to `dtype`."""
        x = te.placeholder((1, self.columns), dtype, "x")
        stored = [te.placeholder(shape, kind, f"w{i}")
                  for i, (shape, kind) in enumerate(self.tensors())]  # fmt: skip
        per_word, middle = 32 // self.bits, 0 if self.minimum else 1 << (self.bits - 1)

        def weight(n: Any, k: Any) -> Any:
            shift = tvm.tirx.Cast("uint32", (k % per_word) * self.bits)
            mask = tvm.tirx.const((1 << self.bits) - 1, "uint32")
            code = (stored[0][n, k // per_word] >> shift) & mask
            centred = code.astype(dtype) - tvm.tirx.const(middle, dtype)
            scaled = centred * stored[1][n, k // _GROUP].astype(dtype)
            return scaled + stored[2][n, k // _GROUP].astype(dtype) if self.minimum else scaled

        w = te.compute((self.rows, self.columns), weight, "weight")
        k = te.reduce_axis((0, self.columns), "k")
        y = te.compute(
            (1, self.rows),
            lambda i, n: te.sum(x[i, k].astype("float32") * w[n, k].astype("float32"), axis=k),
            "y",
        )
        return te.create_prim_func([x, *stored, y])


def product_of(name: str) -> Product | None:
    """Return the product that a kernel computes; None for another kernel."""
    match = _PRODUCT.search(name)
    if match is None or int(match[5]) % _GROUP:
        return None
    return Product(int(match[1][1]), match[2] == "m", int(match[4]), int(match[5]))


def compiled(product: Product, dtype: str, kind: str, arch: str, tier: str) -> bytes:
    """Return a library with main(x, codes, scales...) as dlight schedules it."""
    target = cuda_target() if kind == "cuda" else _vulkan_target(tier)
    module = tvm.IRModule({"main": product.function(dtype)})
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

    def build() -> Any:
        return relax.build(
            builder.get(), target, relax_pipeline=lower_relax({}), tir_pipeline=_PIPELINE
        )

    if kind == "cuda":
        with ahead_of_time():
            executable = build()
        return export_cuda_library(executable, parse_architectures((arch,)))[0]
    with typed_errors():
        return export_library(build(), "x86_64")


def _vulkan_target(tier: str) -> Any:
    options = {**TIERS[tier].tvm_target(), "supports_float16": True, "supports_16bit_buffer": True}
    return tvm.target.Target(options, host=tvm.target.Target(_HOST))


def measured_us(
    backend: Any, code: bytes, product: Product, dtype: str, repetitions: int, busy: Any
) -> float:
    """Return the median time of a launch, each with other weights; checks the first result."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "library.so"
        path.write_bytes(code)
        machine = backend.load(tvm_ffi.load_module(str(path)))
    random = np.random.default_rng(0)
    arrays = [_random(random, shape, kind) for shape, kind in product.tensors()]
    count = max(1, min(_MOST_COPIES, _COLD_BYTES // sum(array.nbytes for array in arrays)))
    times: list[float] = []
    with backend.calling():
        x = random.standard_normal((1, product.columns)).astype(dtype)
        given = backend.upload(x)
        copies = [[backend.upload(array) for array in arrays] for _ in range(count)]
        found = backend.download(machine["main"](given, *copies[0]))
        _check(found, x, arrays, product)

        def calls() -> None:
            for _ in range(int(count * _AHEAD_SECONDS_A_CALL / busy.copy_seconds) + 1):
                busy.copied[0].copyto(busy.copied[1])
            for weights in copies:
                machine["main"](given, *weights)

        for _ in range(repetitions):
            times += [float(launch["milliseconds"]) for launch in backend.profile(calls)]
    return 1e3 * statistics.median(times)


def _random(random: Any, shape: tuple[int, ...], dtype: str) -> Any:
    if dtype == "uint32":
        return random.integers(0, 1 << 32, shape, np.uint32)
    return (0.01 * random.random(shape)).astype(dtype)


def _check(found: Any, x: Any, arrays: list[Any], product: Product) -> None:
    per_word = 32 // product.bits
    shifts = np.arange(per_word, dtype=np.uint32) * product.bits
    codes = (arrays[0][:, :, None] >> shifts) & ((1 << product.bits) - 1)
    weights = codes.reshape(product.rows, product.columns).astype(np.float64)
    if not product.minimum:
        weights -= 1 << (product.bits - 1)
    weights *= np.repeat(arrays[1].astype(np.float64), _GROUP, 1)
    if product.minimum:
        weights += np.repeat(arrays[2].astype(np.float64), _GROUP, 1)
    wanted, scale = weights @ x[0].astype(np.float64), np.abs(weights) @ np.abs(x[0])
    # A weight rounds three times in float16, 2 ** -11 each.
    worst = float(np.max(np.abs(found[0] - wanted) / scale))
    if not worst < 4e-3:
        raise SystemExit(f"dlight's result of {product} is off by {worst:.2g} of its terms")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("times", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--arch", default="90a", help="of CUDA: 80, 89, 90a")
    parser.add_argument("--tier", default="subgroup32", choices=TIERS, help="of Vulkan")
    parser.add_argument("--dtype", default="float16", choices=("float16", "float32"))
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    found = read_measurement(options.times.read_bytes(), what=options.times.name)
    kind, _, index = options.device.partition(":")
    devices = probe_kind(kind).devices
    if not devices:
        raise SystemExit(f"no {kind} device: {probe_kind(kind).problem}")
    backend = open_backend(devices[int(index or 0)], 1)
    busy = measure_device_bandwidth(backend, 1)
    limit = found.bandwidth_gb_s or busy.gb_s
    print(f"{backend.description}; % of {limit:.0f} GB/s; ours from {options.times.name}")
    print("| kernel | ours µs | ours % | dlight µs | dlight % | ratio |\n|---|--:|--:|--:|--:|--:|")
    for product, total in _products(found.steps):
        code = compiled(product, options.dtype, kind, options.arch, options.tier)
        us = measured_us(backend, code, product, options.dtype, options.repetitions, busy)
        ours, size_bytes = total.median_us, total.kernel.bytes_moved
        shares = [100 * size_bytes / time_us / 1e3 / limit for time_us in (ours, us)]
        print(
            f"| `{total.kernel.name}` | {ours:.1f} | {shares[0]:.1f} | {us:.1f} | "
            f"{shares[1]:.1f} | {us / ours:.2f} |",
            flush=True,
        )
    backend.close()


def _products(steps: Iterable[MeasuredStep]) -> list[tuple[Product, KernelTotal]]:
    found = {total.kernel.name: total for step in steps if step.is_decode for total in step.totals}
    products = [(product_of(name), total) for name, total in found.items()]
    return [(product, total) for product, total in products if product is not None]


if __name__ == "__main__":
    main()
