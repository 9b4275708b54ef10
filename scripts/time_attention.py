"""Times attention of decode steps on a device, with tiles of any kind, at some depths.

    python scripts/time_attention.py build DIR --target cuda-sm90 --heads 32,8,128   # no device
    python scripts/time_attention.py run DIR --device cuda --depths 128,1024,8192

`build` compiles the tile of schedules/gpu/tiles.py and others around it; `run` needs no compiler.
Every launch reads pages that no cache holds. Results of all tiles must agree.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ferrylm.errors import FerryError
from ferrylm.runtime.backends import open_backend, probe_kind
from scripts.cold_launches import COLD_BYTES, cold_copies, microseconds

PAGE = 32
LARGEST_DIFFERENCE = 1e-4  # of results that are about 1


def _tiles(now: Any) -> Iterator[Any]:
    yield now
    for subgroups in (2, 4, 8):
        for heads in (2, 4, 8):
            for splits in (16, 32, 64):
                for value_unroll in (8, 16):
                    yield replace(
                        now, subgroups=subgroups, heads=heads, splits=splits,
                        value_unroll=value_unroll,
                    )  # fmt: skip


def build(folder: Path, target: str, heads: tuple[int, int, int], batch: int, arch: str) -> None:
    """Write a library with a kernel for each tile, and attention.json."""
    from ferrylm.schedules.cpu.attention import AttentionShape
    from ferrylm.schedules.gpu.attention_decode import decode_attention
    from ferrylm.schedules.gpu.attention_decode_plan import DecodePlan
    from ferrylm.schedules.gpu.tiles import decode_tile
    from scripts.tune_candidates import compiled, profile_of

    profile, shape = profile_of(target), AttentionShape(*heads, "float16")
    functions, entries = {}, []
    for tile in dict.fromkeys(_tiles(decode_tile(profile))):
        plan = DecodePlan(shape, tile, profile.subgroup)
        name = f"c{len(entries)}"
        functions[name] = decode_attention(batch, plan, overlap=profile.overlap)
        partial = (batch * plan.tasks, plan.splits, plan.partial_width)
        entries.append(
            {"function": name, "tile": asdict(tile), "tasks": plan.tasks, "partial": partial}
        )
    code, dropped = compiled(functions, target, arch)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "attention.so").write_bytes(code)
    document = {"heads": heads, "batch": batch, "tiles": entries, "dropped": dropped}
    (folder / "attention.json").write_text(json.dumps(document, indent=1))
    print(f"{len(entries)} tiles, {len(dropped)} dropped")


class Inputs:
    """A step of `batch` sequences behind `depth` tokens, on the device."""

    def __init__(self, backend: Any, heads: tuple[int, int, int], batch: int, depth: int) -> None:
        query_heads, kv_heads, dim = heads
        random = np.random.default_rng(0)
        width = -(-(depth + 1) // PAGE)
        pages, half = batch * width, dim // 2
        angles = random.random((depth + 1, half)) * 6
        qkv = random.standard_normal((batch, (query_heads + 2 * kv_heads) * dim))
        tables = random.permutation(pages).reshape(batch, width)
        keys = random.standard_normal((pages, kv_heads, dim // 8, PAGE, 8))
        values = random.standard_normal((pages, kv_heads, PAGE, dim))
        arrays = [
            (qkv, "float32"), (np.cos(angles), "float32"), (np.sin(angles), "float32"),
            (np.full(batch, depth), "int32"), (tables, "int32"),
        ]  # fmt: skip
        self.first = [backend.upload(array.astype(dtype)) for array, dtype in arrays]
        self.pools = [backend.upload(pool.astype(np.float16)) for pool in (keys, values)]
        self.bytes_moved = 2 * 2 * batch * (depth + 1) * kv_heads * dim
        self.out = backend.upload(np.zeros((batch, query_heads * dim), np.float32))


def run(folder: Path, device: str, depths: list[int], repetitions: int, cold_bytes: int) -> None:
    """Print the times of all tiles, the fastest first, at each depth."""
    import tvm_ffi

    document = json.loads((folder / "attention.json").read_text())
    kind, _, number = device.partition(":")
    backend: Any = open_backend(probe_kind(kind).devices[int(number or 0)], 1)
    with backend.calling():
        library = tvm_ffi.load_module(str(folder / "attention.so"))
        for depth in depths:
            inputs = Inputs(backend, tuple(document["heads"]), document["batch"], depth)
            copies = cold_copies(backend, inputs.pools, inputs.bytes_moved, cold_bytes)
            times = _times(backend, library, document, inputs, copies, repetitions)
            _show(depth, inputs.bytes_moved, times)
    backend.close()


def _times(
    backend: Any, library: Any, document: Any, inputs: Inputs, copies: Any, repetitions: int
) -> list[tuple[float, Any, bool]]:
    """Return time and tile of each kernel that agrees with the first, and whether it is that."""
    times: list[tuple[float, Any, bool]] = []
    wanted: Any = None
    for entry in document["tiles"]:
        if entry["function"] in document["dropped"]:
            continue
        function = library[entry["function"]]
        counters = backend.upload(np.zeros((document["batch"], entry["tasks"]), np.int32))
        partial = backend.upload(np.zeros(entry["partial"], np.float32))

        def launch(
            pools: list[Any], function: Any = function, more: Any = (counters, partial)
        ) -> None:
            function(*inputs.first, *pools, *more, inputs.out)

        launch(copies[0])
        found = backend.download(inputs.out).copy()
        wanted = found if wanted is None else wanted
        difference = float(np.abs(found - wanted).max())
        if not difference <= LARGEST_DIFFERENCE:
            print(f"  WRONG by {difference:.2g}: {entry['tile']}")
            continue
        us = microseconds(backend, launch, copies, repetitions)
        times.append((us, entry["tile"], entry is document["tiles"][0]))
    return times


def _show(depth: int, bytes_moved: int, times: list[tuple[float, Any, bool]]) -> None:
    print(f"depth {depth}: {bytes_moved / 1e6:.2f} MB of keys and values")
    ordered = sorted(times, key=lambda one: one[0])
    for us, tile, now in ordered[:6] + [one for one in ordered[6:] if one[2]]:
        mark = "  <- today" if now else ""
        print(f"  {us:8.2f} us {bytes_moved / us / 1e3:8.1f} GB/s  {list(tile.values())}{mark}")


def main() -> int:
    """Do one of the steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    builder, runner = (verbs.add_parser(name) for name in ("build", "run"))
    builder.add_argument("folder", type=Path)
    builder.add_argument("--target", required=True)
    builder.add_argument("--heads", required=True, help="query heads, KV heads, their elements")
    builder.add_argument("--batch", type=int, default=1)
    builder.add_argument("--arch", default="90a", help="of CUDA")
    runner.add_argument("folder", type=Path)
    runner.add_argument("--device", required=True)
    runner.add_argument("--depths", default="128,1024,8192")
    runner.add_argument("--repetitions", type=int, default=5)
    runner.add_argument("--cold-bytes", type=int, default=COLD_BYTES)
    options = parser.parse_args()
    try:
        if options.verb == "build":
            query, kv, dim = (int(number) for number in options.heads.split(","))
            build(options.folder, options.target, (query, kv, dim), options.batch, options.arch)
        else:
            depths = [int(number) for number in options.depths.split(",")]
            run(options.folder, options.device, depths, options.repetitions, options.cold_bytes)
    except FerryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
