"""Additions to an element of shared memory by many threads at once, as one step each."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T


def atomic_add(element: Any, value: Any) -> Any:
    """Add an int32 or uint32 to an element of a buffer; return what was there."""
    return T.call_extern(str(value.ty), "ferrylm.atomic_add", T.address_of(element), value)
