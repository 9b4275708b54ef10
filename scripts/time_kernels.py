"""Time the CPU kernels on the shapes of real models.

usage: python scripts/time_kernels.py [--model NAME] [--profile NAME] [--threads N]
           [--batch N | --prefill N] [--storage q4|q8|f16|f32] [--arithmetic int16|int8|f32]
           [--only WORD] [--json]

The cases come from tests/schedules/cases.py, so each kernel that is timed is also tested. Every
call gets another copy of its weights, or of its keys and values, until the copies fill
COLD_BYTES: what is measured is memory, as in a model, and not the cache. Reported is the median
of several rounds; GB/s counts weights, or keys and values, once, and GOP/s two operations for
each weight and row.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ferrylm.runtime.device_tensors import Arena, aligned, aligned_bytes, as_tensor
from ferrylm.runtime.threads import use_threads
from ferrylm.schedules.cpu.activations import norm_quantize
from ferrylm.schedules.cpu.attention import decode_attention
from ferrylm.schedules.cpu.kernels import CpuKernels
from ferrylm.schedules.cpu.layout import groups, padded
from ferrylm.schedules.cpu.profile import PROFILES
from ferrylm.schedules.cpu.rows import Rows
from tests.schedules.cases import (
    EPSILON,
    TIMED_MODELS,
    AttentionCase,
    MatmulCase,
    timed_attentions,
    timed_matmuls,
    timed_widths,
)
from tests.schedules.kernel_runner import build, missing_features

COLD_BYTES = 512 << 20
MOST_COPIES = 4096
ROUNDS, ROUND_SECONDS = 7, 0.15
CONTEXTS = (128, 1024, 4096)  # tokens of the sequences that attention is timed on
Array = np.ndarray


@dataclass(frozen=True)
class Timed:
    """One measured kernel."""

    case: str
    rows: int
    microseconds: float
    megabytes: float
    gigabytes_per_second: float
    gigaoperations_per_second: float


@dataclass(frozen=True)
class Size:
    """How much one call of a kernel does."""

    rows: int
    bytes: float
    operations: float


@dataclass(frozen=True)
class Call:
    """A kernel and its arguments; `cold` are those that change from call to call."""

    function: Callable[..., None]
    before: list[Any]
    cold: list[list[Any]]
    after: list[Any]

    def run(self, number: int) -> None:
        """Make call `number`."""
        self.function(*self.before, *self.cold[number % len(self.cold)], *self.after)


def measure(call: Call, threads: int) -> float:
    """Return the median seconds of a call."""
    use_threads(threads)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < ROUND_SECONDS or done < 2:
        call.run(done)
        done += 1
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for number in range(done):
            call.run(number)
        rounds.append((time.perf_counter() - start) / done)
    return statistics.median(rounds)


def cold_copies(shapes: list[tuple[str, tuple[int, ...]]], seed: int = 0) -> list[list[Any]]:
    """Return copies of random tensors, enough of them to leave the caches."""
    one = sum(aligned_bytes(shape, dtype) for dtype, shape in shapes)
    count = max(1, min(MOST_COPIES, -(-COLD_BYTES // one)))
    arena = Arena(count * one)
    generator = np.random.default_rng(seed)
    copies = []
    for _ in range(count):
        arrays = []
        for dtype, shape in shapes:
            array = arena.take(shape, dtype)
            if dtype.startswith("float"):
                array[...] = np.float32(0.01) * generator.random(shape[-1:], np.float32)
            else:
                array.reshape(-1)[...] = np.resize(generator.integers(0, 100, 4099), array.size)
            arrays.append(as_tensor(array))
        copies.append(arrays)
    return copies


def tensor(*shape: int, dtype: str = "float32") -> Any:
    """Return a tensor of ones."""
    return as_tensor(aligned(np.ones(shape, dtype)))


def matmul_call(kernels: CpuKernels, case: MatmulCase, rows: Rows, count: int) -> Call:
    """Return the call of a matrix product on `count` rows."""
    fmt = case.format
    name = "kernel"
    func = kernels._scheduled_matmul(rows, fmt, case.epilogue)
    function = build(kernels.profile.name, {name: func})[name]
    if fmt.integer:
        activations = [
            tensor(count, groups(fmt.columns), 32 * fmt.parts, dtype="int8"),
            tensor(count, groups(fmt.columns), 2),
        ]
    else:
        activations = [tensor(count, padded(fmt.columns))]
    width = padded(fmt.rows)
    after = [tensor(count, width)] if case.epilogue == "residual" else []
    after.append(tensor(count, width // 2 if fmt.pairs else width))
    tiles = [count // rows.tile] if rows.count is None else []
    return Call(function, [*tiles, *activations], cold_copies([*fmt.tensors().values()]), after)


def attention_call(profile: str, case: AttentionCase, batch: int) -> Call:
    """Return the call of attention of one new token in each of `batch` sequences."""
    name, shape, page = "kernel", case.shape, case.page_size
    function = build(profile, {name: decode_attention(batch, shape)})[name]
    width = -(-case.tokens // page)
    pages, heads = batch * width, shape.num_kv_heads
    cold = cold_copies(
        [
            (case.kv_dtype, (pages, heads, shape.head_dim, page)),
            (case.kv_dtype, (pages, heads, page, shape.head_dim)),
        ]
    )
    tables = np.random.default_rng(0).permutation(pages).astype(np.int32).reshape(batch, width)
    positions = np.full(batch, case.tokens - 1, np.int32)
    after = [
        as_tensor(aligned(tables)),
        as_tensor(aligned(positions)),
        tensor(batch, padded(shape.num_heads * shape.head_dim)),
    ]
    return Call(function, [tensor(batch, shape.num_heads, shape.head_dim)], cold, after)


def norm_call(profile: str, width: int, rows: Rows, count: int) -> Call:
    """Return the call of RMSNorm and quantization to int16."""
    name = "kernel"
    function = build(profile, {name: norm_quantize(rows, width, EPSILON, 2)})[name]
    codes = tensor(count, groups(width), 64, dtype="int8")
    arguments = [
        tensor(count, padded(width)),
        tensor(width),
        codes,
        tensor(count, groups(width), 2),
    ]
    return Call(function, arguments, [[]], [])


def timed(case: object, call: Call, size: Size, threads: int) -> Timed:
    """Measure a call and count what it does."""
    seconds, size_bytes, operations = measure(call, threads), size.bytes, size.operations
    return Timed(
        str(case),
        size.rows,
        round(seconds * 1e6, 2),
        round(size_bytes / 1e6, 3),
        round(size_bytes / seconds / 1e9, 2),
        round(operations / seconds / 1e9, 1),
    )


def chosen(arguments: argparse.Namespace) -> Iterator[tuple[object, Size, Callable[[], Call]]]:
    """Yield name, size and maker of every chosen case."""
    model, profile = arguments.model, arguments.profile
    count = arguments.prefill or arguments.batch
    shape = timed_attentions(model, 1, "float16")[0].shape
    kernels = CpuKernels(PROFILES[profile], arguments.arithmetic, shape)
    rows = kernels.rows(None if arguments.prefill else count)
    arithmetic = arguments.arithmetic if arguments.storage in ("q4", "q8") else "f32"
    for case in timed_matmuls(model, arguments.storage, arguments.minimum, arithmetic):
        weights = case.format.tensors().values()
        size_bytes = float(sum(np.dtype(d).itemsize * np.prod(shape) for d, shape in weights))
        size = Size(count, size_bytes, 2.0 * count * case.rows * case.columns)
        yield case, size, partial(matmul_call, kernels, case, rows, count)
    for tokens in () if arguments.prefill else CONTEXTS:
        for attention in timed_attentions(model, tokens, "float16"):
            elements = 2.0 * count * tokens * attention.num_kv_heads * attention.head_dim
            queries = attention.num_heads // attention.num_kv_heads
            size = Size(count, 2 * elements, 2 * elements * queries)
            yield attention, size, partial(attention_call, profile, attention, count)
    for width in timed_widths(model):
        size = Size(count, 4.0 * count * width, 0.0)
        yield f"norm-quantize-{width}", size, partial(norm_call, profile, width, rows, count)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    host = [profile for profile in PROFILES.values() if not missing_features(profile.name)]
    able = [profile.name for profile in sorted(host, key=lambda p: p.preference)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=TIMED_MODELS, default=TIMED_MODELS[0])
    parser.add_argument("--profile", choices=able, default=able[-1] if able else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, choices=(1, 2, 4, 8), default=1)
    parser.add_argument("--prefill", type=int, default=0, help="rows of a chunk, a multiple of 4")
    parser.add_argument("--storage", choices=("q4", "q8", "f16", "f32"), default="q4")
    parser.add_argument("--minimum", action="store_true", help="q4 with a minimum, as Q4_1 has it")
    parser.add_argument("--arithmetic", choices=("int8", "int16", "f32"), default="int16")
    parser.add_argument("--only", default="", help="cases whose name holds this word")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    found = parser.parse_args()
    if found.profile is None:
        parser.error("this machine runs no profile")
    if found.minimum and found.storage != "q4":
        parser.error("--minimum goes with --storage q4")
    if found.prefill % 4:
        parser.error("--prefill takes a multiple of 4")
    return found


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    if not arguments.json:
        print(f"{arguments.model}, {arguments.profile}, {arguments.threads} threads")
        print(f"{'case':<52}{'rows':>5}{'us':>10}{'MB':>9}{'GB/s':>8}{'GOP/s':>9}")
    for case, size, make in chosen(arguments):
        if arguments.only not in str(case):
            continue
        found = timed(case, make(), size, arguments.threads)
        if arguments.json:
            print(json.dumps(asdict(found)), flush=True)
        else:
            print(
                f"{found.case:<52}{found.rows:>5}{found.microseconds:>10.1f}"
                f"{found.megabytes:>9.2f}{found.gigabytes_per_second:>8.1f}"
                f"{found.gigaoperations_per_second:>9.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
