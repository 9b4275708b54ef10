"""Candidates for the tiles of a model's products, compiled without a device."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tvm

from ferrylm.compile.cuda.architectures import parse_architectures
from ferrylm.compile.cuda.build_hook import ahead_of_time
from ferrylm.compile.cuda.library import cuda_target, export_cuda_library
from ferrylm.compile.cuda.resources import kernel_resources
from ferrylm.compile.cuda.tiers import TIERS as CUDA_TIERS
from ferrylm.compile.gpu_pipeline import PIPELINE
from ferrylm.compile.library import export_library
from ferrylm.compile.spirv import typed_errors
from ferrylm.compile.vulkan_tiers import TIERS as VULKAN_TIERS
from ferrylm.errors import UsageError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.manifest import Library, ModelConfig
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import WeightFormat
from ferrylm.schedules.gpu.matvec import matvec
from ferrylm.schedules.gpu.matvec_choice import product_name
from ferrylm.schedules.gpu.matvec_grid import MatvecGrid, MatvecTile, Product
from ferrylm.schedules.gpu.matvec_small import leaves_floats, rounds_itself
from ferrylm.schedules.gpu.profile import GpuProfile
from ferrylm.schedules.gpu.tiles import MOST_THREADS, ROW_TILE, matvec_tile
from scripts.tune_product import TunedProduct

_MOST_SLOTS = 16  # groups of weights that a lane holds; more leave no registers
_MOST_OUTPUTS = 128  # of a workgroup; more leave multiprocessors idle
_HOST = {"kind": "llvm", "mtriple": "x86_64-unknown-linux-gnu", "mcpu": "x86-64"}


def profile_of(target: str) -> GpuProfile:
    """Return the profile of a target, cuda-sm90 or vulkan-subgroup32-dot. Raises UsageError."""
    kind, _, tier = target.partition("-")
    tiers: dict[str, Any] = {"cuda": dict(CUDA_TIERS), "vulkan": dict(VULKAN_TIERS)}
    if tier not in tiers.get(kind, {}):
        names = [f"{k}-{name}" for k, found in tiers.items() for name in found]
        raise UsageError(f"target {target!r}", wanted=", ".join(names), fix="choose one of them")
    profile: GpuProfile = tiers[kind][tier].profile
    return profile


def products_of(artifact: Path, batches: Iterable[int], profile: GpuProfile) -> Iterator[Product]:
    """Yield the products of quantized activations in the decode steps of an artifact's model.

    Those that quantize their activations themselves are left out: small ones, of which whole steps
    tell more.
    """
    with Artifact.open(artifact) as opened:
        manifest = opened.manifest
    library = manifest.libraries[0]
    formats = {
        name.rpartition(".")[2]: fmt
        for name, fmt in _formats(library, manifest.model)
        if name.startswith("layers.0.") or "." not in name
    }
    head = formats.get("head", formats.get("embedding"))
    eps = manifest.model.norm_eps
    for batch in batches:
        rows = Rows(min(batch, ROW_TILE), batch)
        for kind, epilogue, normed in (
            ("qkv", "plain", True), ("attention_out", "residual", False),
            ("gate_up", "swiglu", True), ("down", "residual", False), ("head", "plain", True),
        ):  # fmt: skip
            fmt = head if kind == "head" else formats.get(kind)
            if fmt is None or not fmt.integer or (normed and rounds_itself(profile, rows, fmt)):
                continue
            floats = epilogue == "residual" and leaves_floats(profile, rows, fmt.rows)
            parts = 0 if epilogue == "plain" or floats else fmt.parts
            gained = epilogue == "residual" and not floats
            yield Product(rows, fmt, epilogue, eps if normed else None, parts, gained)


def _formats(library: Library, model: ModelConfig) -> Iterator[tuple[str, WeightFormat]]:
    shapes = {parameter.name: parameter.shape for parameter in library.parameters}
    for name, shape in shapes.items():
        matrix, _, suffix = name.rpartition(".")
        if suffix == "codes" and len(shape) == 3:
            storage = "q4" if shape[2] == 4 else "q8"
            columns = _columns(matrix.rpartition(".")[2], model)
            minimum = f"{matrix}.minimum" in shapes
            yield matrix, WeightFormat(shape[0], columns, storage, minimum, library.arithmetic)


def _columns(matrix: str, model: ModelConfig) -> int:
    wide = {"down": model.intermediate_size, "attention_out": model.num_heads * model.head_dim}
    return wide.get(matrix, model.hidden_size)


def candidates(profile: GpuProfile, product: Product, most: int, seed: int) -> list[MatvecTile]:
    """Return the tile of today, first, and others that make sense; a random choice of many."""
    current = matvec_tile(profile, product)
    found = [tile for tile in _tiles() if tile != current and _fits(profile, product, tile)]
    random.Random(seed).shuffle(found)
    return [current, *found[: most - 1]]


def _tiles() -> Iterator[MatvecTile]:
    for subgroups, rows, split, unroll, ahead in itertools.product(
        (1, 2, 4, 8, 16, 32), (2, 4, 8), (1, 2, 4, 8), (1, 2, 4), (False, True)
    ):
        if subgroups % split == 0 and rows * unroll * (1 + ahead) <= _MOST_SLOTS:
            yield MatvecTile(subgroups, rows, split, unroll, ahead)


def _fits(profile: GpuProfile, product: Product, tile: MatvecTile) -> bool:
    """Return whether no lane idles, outputs are whole groups, and the workgroup is possible."""
    steps = product.fmt.columns // 32 // profile.subgroup // tile.split
    if tile.unroll * (1 + tile.ahead) > max(1, steps) or (tile.split > 1 and steps < 1):
        return False
    try:
        grid = MatvecGrid(product, tile, profile.subgroup)
    except ValueError:
        return False
    (a, b), (c, d) = grid.shared_sums, grid.shared_results
    return (
        grid.threads <= MOST_THREADS.get(profile.subgroup, 1024)
        and grid.workgroup_outputs <= _MOST_OUTPUTS
        and 4 * (a * b + c * d) <= profile.shared_bytes
    )


def build(
    folder: Path, target: str, products: Iterable[Product], most: int, seed: int, arch: str
) -> None:
    """Write a library of candidates for each product, and tune.json."""
    folder.mkdir(parents=True, exist_ok=True)
    profile = profile_of(target)
    entries: list[dict[str, Any]] = []
    for product in {product_name(product): product for product in products}.values():
        tiles = candidates(profile, product, most, seed)
        functions = {
            f"c{index}": _kernel(profile, product, tile) for index, tile in enumerate(tiles)
        }
        code, dropped = compiled(functions, target, arch)
        library = f"tune-{len(entries)}.so"
        (folder / library).write_bytes(code)
        found = [
            {"function": name, "tile": asdict(tile), "dropped": dropped.get(name)}
            for name, tile in zip(functions, tiles, strict=True)
        ]
        spec = asdict(_described(product))
        entries.append({"library": library, "product": spec, "candidates": found})
        print(f"{spec['name']}: {len(tiles)} candidates, {len(dropped)} dropped", flush=True)
    document = {"format": "ferrylm-tune", "version": 1, "target": target, "products": entries}
    (folder / "tune.json").write_text(json.dumps(document, indent=1))


def _kernel(profile: GpuProfile, product: Product, tile: MatvecTile) -> Any:
    return matvec(
        product, tile, profile.subgroup, overlap=profile.overlap,
        rows_in_lanes=profile.rows_in_lanes,
    )  # fmt: skip


def compiled(functions: dict[str, Any], target: str, arch: str) -> tuple[bytes, dict[str, str]]:
    """Return a library, and why some of its functions are not worth running."""
    module = tvm.IRModule(
        {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    )
    kind, _, tier = target.partition("-")
    if kind == "vulkan":
        found = tvm.target.Target(
            VULKAN_TIERS[tier].tvm_target(), host=tvm.target.Target(_HOST)
        )  # fmt: skip
        with typed_errors():
            executable = tvm.compile(module, target=found, tir_pipeline=PIPELINE)
        return export_library(executable, "x86_64"), {}
    with ahead_of_time():
        executable = tvm.compile(
            module, target=cuda_target(CUDA_TIERS[tier].first), tir_pipeline=PIPELINE
        )
    code, built = export_cuda_library(executable, parse_architectures((arch,)))
    dropped = {}
    for kernel in kernel_resources(built.code):
        if kernel.spill_instructions or kernel.stack_bytes:
            name = kernel.kernel.removesuffix("_kernel")
            dropped[name] = f"{kernel.spill_instructions} spills, {kernel.registers} registers"
    return code, dropped


def _described(product: Product) -> TunedProduct:
    fmt = product.fmt
    assert product.rows.count is not None, "products of decode steps"
    return TunedProduct(
        product_name(product), fmt.storage, fmt.minimum, fmt.parts, fmt.rows, fmt.columns,
        product.epilogue, product.eps, product.parts > 0, product.gained, product.rows.count,
    )  # fmt: skip
