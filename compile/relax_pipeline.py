"""The passes that lower the model's Relax functions to bytecode of TVM's virtual machine.

Every operation is a kernel of this project already, so there is nothing to legalize or to fuse:
what is left is the memory plan and the calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tvm
from tvm import relax

from ferrylm.compile.shape_functions import order_shape_functions


def lower_relax(upper_bounds: Mapping[str, int]) -> Any:
    """Return the pass; `upper_bounds` of symbolic sizes make all intermediate memory static."""

    @tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
    def lower(mod: Any, _context: Any) -> Any:
        for name, func in mod.functions_items():
            if isinstance(func, relax.Function):
                mod[name] = func.with_attr("tir_var_upper_bound", dict(upper_bounds))
        return tvm.ir.transform.Sequential(
            [
                relax.transform.ToNonDataflow(),
                relax.transform.RemovePurityChecking(),
                relax.transform.CallTIRRewrite(),
                relax.transform.StaticPlanBlockMemory(),
                relax.transform.LowerAllocTensor(),
                relax.transform.LowerRuntimeBuiltin(),
                relax.transform.ComputePrimValue(),
                relax.transform.VMShapeLower(),
                order_shape_functions,
                relax.transform.AttachGlobalSymbol(),
            ]
        )(mod)

    return lower
