"""Runs on the stand-ins: loads a library on the GPU they claim, and does what argv asks.

argv: the stand-in's libcudart, the library, and record, fail-in-capture, profile,
memory, load, outbox, or draw-ahead.
Prints JSON. It is a program of its own because a process keeps the driver that it loaded first.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

import numpy as np

from ferrylm.errors import FerryError
from ferrylm.runtime.cuda_backend import CudaBackend, probe
from ferrylm.runtime.draw_group import DrawGroup, Drawing
from ferrylm.runtime.kv_pages import Sequence


def main() -> None:
    """Do it."""
    runtime, library, action = sys.argv[1:]
    ctypes.CDLL(runtime)
    backend = CudaBackend(probe().devices[0])
    import tvm_ffi
    from tvm.base import _LOADED_LIBS

    @tvm_ffi.register_global_func("tvm_callback_cuda_compile", override=True)
    def compile_nothing(_source: str) -> bytes:
        raise AssertionError("loading compiled something")

    machine = backend.load(tvm_ffi.load_module(library))
    answer: dict[str, Any] = {"compiler": "tvm_compiler" in _LOADED_LIBS}
    try:
        with backend.calling():
            answer |= ACTIONS[action](backend, machine)
    except FerryError as error:
        answer |= {"error": error.code, "found": error.found, "fix": error.fix}
    answer["action"] = action
    backend.close()
    print(json.dumps(answer))


def record(backend: CudaBackend, machine: Any) -> dict[str, Any]:
    """Run a step three times, with other work between that takes memory from the pool."""
    x = backend.upload(np.arange(256, dtype=np.float32))
    step = backend.repeated(lambda: machine["main"](x))
    step.run()
    note("first run over")
    others = [machine["main"](x) for _ in range(3)]
    step.run()
    del others
    step.run()
    return {"copied": float(backend.read_rows(x, 3)[2])}


def fail_in_capture(backend: CudaBackend, machine: Any) -> dict[str, Any]:
    """Capture a step that waits, which no capture allows, then a good one."""
    x = backend.upload(np.arange(256, dtype=np.float32))
    calls = []

    def bad() -> Any:
        calls.append(1)
        if len(calls) == 3:  # the run that is captured
            backend.synchronize()
        return machine["main"](x)

    try:
        backend.repeated(bad).run()
    except FerryError as error:
        note("refused")
        backend.repeated(lambda: machine["main"](x)).run()
        return {"refused": error.found}
    return {}


def profile(backend: CudaBackend, machine: Any) -> dict[str, Any]:
    """Time the kernels of a step."""
    x = backend.upload(np.arange(256, dtype=np.float32))
    return {"kernels": backend.profile(lambda: machine["main"](x))}


def memory(backend: CudaBackend, machine: Any) -> dict[str, Any]:
    """Ask for more memory than there is."""
    before = backend.used_bytes()
    kept = backend.upload(np.zeros(1 << 20, np.uint8))
    used = backend.used_bytes() - before
    backend.empty((backend.free_bytes() + 1,), "uint8")
    return {"used": used, "kept": int(kept.shape[0]), "machine": repr(machine)}


def load(backend: CudaBackend, machine: Any) -> dict[str, Any]:
    """Call the model's function once."""
    x = backend.upload(np.arange(256, dtype=np.float32))
    machine["main"](x)
    return {"name": backend.description}


def note(text: str) -> None:
    """Write a line into the log of the stand-ins."""
    with open(os.environ["STAND_IN_CUDA_LOG"], "a", encoding="utf-8") as file:
        file.write(text + "\n")


def outbox(backend: CudaBackend, machine: Any) -> dict[str, Any]:
    """Write two entries, and read them in the other order."""
    box = backend.outbox(4, 2)
    for entry in (1, 3):
        backend.write(box.tensor, 2 * entry, np.array([entry, -entry], np.int32))
        box.post(entry)
    found = [box.take(3).tolist(), box.take(1).tolist()]
    other = backend.empty((4,), "int32")
    backend.copy(box.tensor, 6, other, 1, 2)
    copied = backend.download(other)[1:3].tolist()
    return {"taken": found, "there": box.is_there(1), "copied": copied, "machine": repr(machine)}


def draw_ahead(backend: CudaBackend, machine: Any) -> dict[str, Any]:
    """Launch three steps of two sequences; then one of them leaves, and three more."""
    x = backend.upload(np.arange(256, dtype=np.float32))
    shapes = []

    def make_call(batch: int, tensors: Any) -> Any:
        shapes.append([batch, *([int(size) for size in tensor.shape] for tensor in tensors)])
        return lambda: machine["main"](x)

    group = DrawGroup(backend, (1, 2), 8, 4, make_call)
    rows = [Drawing(Sequence(3, [0]), 0, 9, 7, 3), Drawing(Sequence(5, [1]), 1, 9, 8, 5)]
    flights = [group.launch(rows, 4) for _ in range(3)]
    note("one leaves")
    flights += [group.launch(rows[1:], 4) for _ in range(3)]
    note("landing")
    for flight in flights:
        flight.land()
    return {
        "shapes": shapes,
        "positions": [drawing.position for drawing in rows],
        "reports": [len(drawing.reports) for drawing in rows],
        "token": int(backend.download(group.all_tokens)[0]),
    }


ACTIONS = {
    "record": record, "fail-in-capture": fail_in_capture, "profile": profile, "memory": memory,
    "load": load, "outbox": outbox, "draw-ahead": draw_ahead,
}  # fmt: skip

if __name__ == "__main__":
    main()
