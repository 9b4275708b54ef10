"""Time the products of a decode step beside those that TVM's own dlight schedules make.

usage: python scripts/compare_dlight.py build ARTIFACT FOLDER [--device cuda|vulkan] [--arch 90a]
           [--dtype float16|float32]
       python scripts/compare_dlight.py run FOLDER times.json [--device cuda|vulkan[:N]]
           [--repetitions N]

`build` needs the compiler and no device: the same function (unpack, scale, sum) as each quantized
matrix of the artifact computes, for one row, is scheduled by dlight and compiled into FOLDER. `run`
needs no compiler: times.json is what `ferry bench DIR --kernels --json` wrote on the device that
it runs on. Launches are timed one after another, each with weights that no cache holds, as those
of ours are (docs/report.md).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ferrylm.report.measurement import KernelTotal, MeasuredStep, read_measurement
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.backends import open_backend, probe_kind
from ferrylm.runtime.device_bandwidth import measure_device_bandwidth
from scripts.cold_launches import COLD_BYTES, cold_copies, microseconds
from scripts.weight_product import GROUP, WeightProduct

_PRODUCT = re.compile(r"_(q4|q8)(m?)_(\w+?)_(\d+)x(\d+)_batch1$")
# A weight rounds three times in float16, 2 ** -11 each.
_TOLERANCE = 4e-3


def product_of(name: str) -> WeightProduct | None:
    """Return the product that a kernel computes; None for another kernel."""
    match = _PRODUCT.search(name)
    if match is None or int(match[5]) % GROUP:
        return None
    return WeightProduct(int(match[1][1]), match[2] == "m", int(match[4]), int(match[5]))


def measured_us(backend: Any, library: Path, product: WeightProduct, dtype: str, n: int) -> float:
    """Return the median time of a launch, each with other weights; checks the first result."""
    import tvm_ffi

    random = np.random.default_rng(0)
    arrays = product.random(random)
    x = random.standard_normal((1, product.columns)).astype(dtype)
    size_bytes = sum(array.nbytes for array in arrays)
    with backend.calling():
        main_function = backend.load(tvm_ffi.load_module(str(library)))["main"]
        given, first = backend.upload(x), [backend.upload(array) for array in arrays]
        found = backend.download(main_function(given, *first))[0]
        worst = product.worst_error(found, x[0], arrays)
        if not worst < _TOLERANCE:
            raise SystemExit(f"dlight's result of {product} is off by {worst:.2g} of its terms")
        copies = cold_copies(backend, first, size_bytes, COLD_BYTES)
        return microseconds(backend, lambda weights: main_function(given, *weights), copies, n)


def compare(folder: Path, times: Path, device: str, repetitions: int) -> None:
    """Print a table of our products beside those in a folder."""
    document = json.loads((folder / "dlight.json").read_text())
    kind, _, number = device.partition(":")
    if document["kind"] != kind:
        raise SystemExit(f"{folder} was built for {document['kind']}, not for {kind}")
    libraries = {
        WeightProduct(**entry["product"]): folder / entry["library"]
        for entry in document["products"]
    }
    devices = probe_kind(kind).devices
    if not devices:
        raise SystemExit(f"no {kind} device: {probe_kind(kind).problem}")
    found = read_measurement(times.read_bytes(), what=times.name)
    backend = open_backend(devices[int(number or 0)], 1)
    limit = found.bandwidth_gb_s or measure_device_bandwidth(backend, 1).gb_s
    print(f"{backend.description}; % of {limit:.0f} GB/s; ours from {times.name}")
    print("| kernel | ours µs | ours % | dlight µs | dlight % | ratio |\n|---|--:|--:|--:|--:|--:|")
    for product, total in products_of_steps(found.steps):
        if product not in libraries:
            raise SystemExit(f"{folder} has no {product}: build it from the measured artifact")
        dtype = document["dtype"]
        us = measured_us(backend, libraries[product], product, dtype, repetitions)
        ours, size_bytes = total.median_us, total.kernel.bytes_moved
        shares = [100 * size_bytes / time_us / 1e3 / limit for time_us in (ours, us)]
        print(
            f"| `{total.kernel.name}` | {ours:.1f} | {shares[0]:.1f} | {us:.1f} | "
            f"{shares[1]:.1f} | {us / ours:.2f} |",
            flush=True,
        )
    backend.close()


def products_of_steps(steps: Iterable[MeasuredStep]) -> list[tuple[WeightProduct, KernelTotal]]:
    """Return the products of the decode steps, with their times."""
    found = {total.kernel.name: total for step in steps if step.is_decode for total in step.totals}
    products = [(product_of(name), total) for name, total in found.items()]
    return [(product, total) for product, total in products if product is not None]


def build(options: argparse.Namespace) -> None:
    """Compile what dlight makes of an artifact's products."""
    from scripts import dlight_products

    with Artifact.open(options.artifact) as artifact:
        parameters = [p for library in artifact.manifest.libraries for p in library.parameters]
    products = dlight_products.products_of(parameters)
    kind = options.device.partition(":")[0]
    dlight_products.build(
        products, options.folder, options.dtype, kind, options.arch, options.tier
    )  # fmt: skip


def main() -> None:
    """Build, or print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    maker, runner = verbs.add_parser("build"), verbs.add_parser("run")
    maker.add_argument("artifact", type=Path)
    maker.add_argument("folder", type=Path)
    maker.add_argument("--arch", default="90a", help="of CUDA: 80, 89, 90a")
    maker.add_argument("--tier", default="subgroup32", help="of Vulkan")
    maker.add_argument("--dtype", default="float16", choices=("float16", "float32"))
    runner.add_argument("folder", type=Path)
    runner.add_argument("times", type=Path)
    runner.add_argument("--repetitions", type=int, default=5)
    for one in (maker, runner):
        one.add_argument("--device", default="cuda")
    options = parser.parse_args()
    if options.verb == "build":
        build(options)
    else:
        compare(options.folder, options.times, options.device, options.repetitions)


if __name__ == "__main__":
    main()
