"""Puts the functions that compute symbolic sizes into one order, whatever VMShapeLower chose.

That pass of the 0.27 wheel walks maps ordered by the addresses of expressions: the stores within
a function, and with them which functions are found to be equal, change from run to run. Equal
inputs would give libraries of different bytes.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import ir, relax, tirx
from tvm_ffi import structural_map

_PREFIX = "shape_func"


@tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def order_shape_functions(mod: Any, _context: Any) -> Any:
    """Sort the stores of shape functions, merge equal ones, number them by their first use."""
    variables = {g.name_hint: g for g in mod.functions if g.name_hint.startswith(_PREFIX)}
    if not variables:
        return mod
    bodies = {name: _sorted(mod[name]) for name in variables}
    texts = {name: func.script() for name, func in bodies.items()}
    numbered: dict[str, Any] = {}  # text -> the variable that stands for it from now on
    names = sorted(variables, key=lambda name: int(name.removeprefix(_PREFIX) or 0))

    def renamed(variable: Any) -> Any:
        text = texts.get(variable.name_hint)
        if text is None:
            return variable
        if text not in numbered:
            numbered[text] = variables[names[len(numbered)]]
        return numbered[text]

    functions = {
        variable.name_hint: (variable, func)
        for variable, func in mod.functions_items()
        if isinstance(func, relax.Function)
    }
    ordered = ir.IRModule(dict(mod.functions_items()), mod.attrs, mod.global_infos)
    for _, (variable, func) in sorted(functions.items()):
        ordered[variable] = structural_map(func, (ir.GlobalVar, renamed))
    for variable in variables.values():
        del ordered[variable]
    for name, func in bodies.items():
        if texts[name] in numbered:
            ordered[numbered[texts[name]]] = func
    return ordered


def _sorted(func: Any) -> Any:
    """Return a shape function with its stores in the order of their places.

    Each reads only what was there before the call, so their order means nothing.
    """
    body = func.body
    if not isinstance(body, tirx.SeqStmt):
        return func
    if not all(isinstance(stmt, tirx.BufferStore) for stmt in body.seq):
        raise ValueError(f"a shape function holds more than stores: {body}")
    stores = sorted(body.seq, key=lambda store: int(store.indices[0]))
    return func.with_body(tirx.SeqStmt(stores))
