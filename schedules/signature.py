"""Leave out the parameters of a PrimFunc that its case does not use.

TVMScript wants one signature for all cases of a kernel: with a minimum or without, with a residual
or without. The body of a case that lacks one never mentions it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tvm import tirx


def without(func: Any, names: Iterable[str]) -> Any:
    """Return the PrimFunc less the parameters of these names."""
    dropped = set(names)
    if missing := dropped - {param.name for param in func.params}:
        raise ValueError(f"no parameters of these names: {sorted(missing)}")
    kept = [param for param in func.params if param.name not in dropped]
    return tirx.PrimFunc(kept, func.body, func.ret_type, func.attrs)
