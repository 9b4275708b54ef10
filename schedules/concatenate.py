"""Make one kernel of two that follow each other: one call, and what lies between stays inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import tirx
from tvm_ffi import structural_map


def concatenate(first: Any, second: Any, links: Mapping[str, str], inside: tuple[str, ...]) -> Any:
    """Return the PrimFunc that runs `first`, then `second`.

    `links` maps parameter names of `second` to those of `first` that are the same buffer; those
    named in `inside` are written and read by the two alone and become memory of the new function.
    Its parameters are the scalars of `second`, the others of `first`, the others of `second`.
    """
    ours = {param.name: param for param in first.params}
    body, kept = second.body, []
    for param in second.params:
        if param.name not in links:
            kept.append(param)
            continue
        known = ours[links[param.name]]
        body = _replace(body, param, known)
        body = _unify_shapes(body, param, known)
    scalars = [param for param in kept if not _is_buffer(param)]
    params = [
        *scalars,
        *(param for param in first.params if param.name not in inside),
        *(param for param in kept if _is_buffer(param)),
    ]
    allocations = [tirx.AllocBuffer(ours[name]) for name in inside]
    joined = tirx.PrimFunc(params, tirx.SeqStmt([*allocations, first.body, body]))
    return joined.with_attr("tirx.noalias", True)


def _is_buffer(param: Any) -> bool:
    return hasattr(param.ty, "shape")


def _replace(body: Any, old: Any, new: Any) -> Any:
    return structural_map(body, (tirx.Var, lambda var: new if var.same_as(old) else var))


def _unify_shapes(body: Any, theirs: Any, ours: Any) -> Any:
    """Replace the size variables of a dropped buffer by the sizes of the one in its place."""
    for old, new in zip(theirs.ty.shape, ours.ty.shape, strict=True):
        if isinstance(old, tirx.Var) and not old.same_as(new):
            body = _replace(body, old, new)
    return body
