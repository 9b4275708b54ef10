"""Count what a decode step on an NVIDIA GPU asks of the driver, in a trace by NVIDIA's CUPTI.

usage: python scripts/trace_launches.py ARTIFACT [--tokens 64] [--depth 128]

Wants nvidia-cuda-cupti==13.0.85 from pip, or the path of libcupti.so.13 in FERRY_CUPTI. In an
unpacked bundle: PYTHONPATH=packages/common TVM_USE_RUNTIME_LIB=1. Exit status 1 says that a token
took another number of graph launches than one, or that a kernel was launched by itself.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# CUPTI 13.0, cupti_callbacks.h
_DRIVER_API = 1  # CUPTI_CB_DOMAIN_DRIVER_API
_ENTER = 0  # CUPTI_API_ENTER
_CALLBACK = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p
)  # fmt: skip

GRAPH, KERNELS = "cuGraphLaunch", ("cuLaunchKernel", "cuLaunchCooperativeKernel")


class _Data(ctypes.Structure):
    """The head of CUpti_CallbackData."""

    _fields_ = (("site", ctypes.c_int), ("function", ctypes.c_char_p))


class DriverTrace:
    """Counts the calls of the CUDA driver by name, from the moment it is made."""

    def __init__(self, library: str) -> None:
        self.calls: collections.Counter[str] = collections.Counter()
        self._cupti = ctypes.CDLL(library)
        self._callback = _CALLBACK(self._note)  # CUPTI keeps no reference
        self._subscriber = ctypes.c_void_p()
        self._call("cuptiSubscribe", ctypes.byref(self._subscriber), self._callback, None)
        self._call("cuptiEnableDomain", 1, self._subscriber, _DRIVER_API)

    def close(self) -> None:
        """End the trace: at exit the driver would call a function of a Python that is gone."""
        self._call("cuptiUnsubscribe", self._subscriber)

    def _note(self, _user: int, _domain: int, _which: int, data: int) -> None:
        found = ctypes.cast(data, ctypes.POINTER(_Data)).contents
        if found.site == _ENTER:
            self.calls[found.function.decode()] += 1

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._cupti, name)(*arguments)
        if status:
            raise SystemExit(f"{name} failed with error {status} of CUPTI")


def find_cupti() -> str:
    """Return the path of CUPTI's library."""
    if path := os.environ.get("FERRY_CUPTI"):
        return path
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        library = Path(folder, "cu13", "lib", "libcupti.so.13")
        if library.is_file():
            return str(library)
    raise SystemExit("no libcupti.so.13: pip install nvidia-cuda-cupti==13.0.85")


def per_token(calls: collections.Counter[str], tokens: int) -> dict[str, float]:
    """Return the calls of each function per token, without version suffixes."""
    found: dict[str, float] = {}
    for name, count in calls.items():
        plain = name.partition("_")[0]  # cuMemcpyDtoHAsync_v2, cuGraphLaunch_ptsz
        found[plain] = found.get(plain, 0) + count / tokens
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def one_launch(rates: dict[str, float]) -> bool:
    """Return whether each token was one graph launch and nothing else was launched."""
    alone = [name for name in rates if name.startswith(KERNELS)]
    return rates.get(GRAPH) == 1 and not alone


def _nothing() -> None:
    """Begin without more ado."""


def _decode(engine: Any, ids: Any, depth: int, begin: Callable[[], object] = _nothing) -> float:
    """Decode given tokens one by one behind a prompt; return the seconds since `begin`."""
    sequence = engine.open_sequence()
    engine.prefill(sequence, ids[:depth])
    begin()
    start_s = time.perf_counter()
    for token in ids[depth:]:
        engine.decode([sequence], np.array([token], np.int32))
    passed_s = time.perf_counter() - start_s
    engine.close_sequence(sequence)
    return passed_s


def _draw(engine: Any, ids: Any, depth: int, begin: Callable[[], object] = _nothing) -> float:
    """Have the device draw as many tokens, ahead of this program."""
    from ferrylm.runtime.draw_slots import greedy_draws

    sequence = engine.open_sequence()
    engine.prefill(sequence, ids[:depth])
    engine.begin_drawing(sequence, greedy_draws(int(ids[depth]), len(ids) - depth))
    begin()
    start_s = time.perf_counter()
    for _ in ids[depth:]:
        engine.next_reports([sequence])
    passed_s = time.perf_counter() - start_s
    engine.close_sequence(sequence)
    return passed_s


def trace(artifact: Path, tokens: int, depth: int) -> dict[str, float]:
    """Generate tokens behind a prompt, and return the driver's calls per token."""
    from ferrylm.runtime.artifact import Artifact
    from ferrylm.runtime.engine import open_engine

    watch = DriverTrace(find_cupti())
    with Artifact.open(artifact) as opened:
        engine = open_engine(opened, device="cuda", context_length=depth + tokens + 16)
    ids = np.random.default_rng(0).integers(0, engine.vocab_size, depth + tokens, dtype=np.int32)
    generate = _draw if engine.draws else _decode
    generate(engine, ids, depth)  # makes the graphs
    passed_s = generate(engine, ids, depth, watch.calls.clear)
    rates = per_token(watch.calls, tokens)
    watch.close()
    engine.close()
    print(f"{tokens} decode steps, {tokens / passed_s:.0f} tok/s while traced; calls per token:")
    return rates


def main() -> int:
    """Trace, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--depth", type=int, default=128)
    options = parser.parse_args()
    rates = trace(options.artifact, options.tokens, options.depth)
    for name, rate in rates.items():
        print(f"  {name:32} {rate:g}")
    well = one_launch(rates)
    print("one graph launch per token" if well else "NOT one graph launch per token")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
