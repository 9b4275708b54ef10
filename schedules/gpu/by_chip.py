"""What the host's part of a kernel asks the runtime before it launches (NVIDIA).

Code for several chips lies in one library, and a kernel's body may differ with each
(compile/cuda/bodies.py), but not its grid, its threads and its shared memory, which the host
decides. Where those differ there are two kernels, and the host asks which chip is at hand.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script import tirx as T
from tvm_ffi import structural_map

# Functions of the runtime, src/ferrylm/runtime/cuda_chip.py, about the calling thread's device.
CHIP = "ferrylm.cuda_chip"  # ten times the compute capability
PROCESSORS = "ferrylm.cuda_processors"  # its multiprocessors


def by_chip(chip: int, here: Any, elsewhere: Any) -> Any:
    """Return the PrimFunc that is `here` on one chip and `elsewhere` on all others.

    Both take the same arguments. What else `here` says of itself counts for both.
    """
    body = elsewhere.body
    for ours, theirs in zip(here.params, elsewhere.params, strict=True):
        for old, new in zip(theirs.ty.shape, ours.ty.shape, strict=True):
            if isinstance(old, tirx.Var):
                body = _replace(body, old, new)
        body = _replace(body, theirs, ours)
    choice = tirx.IfThenElse(T.call_packed(CHIP) == chip, here.body, body)
    return tirx.PrimFunc(here.params, choice, here.ret_type, here.attrs)


def _replace(body: Any, old: Any, new: Any) -> Any:
    return structural_map(body, (tirx.Var, lambda var: new if var.same_as(old) else var))
