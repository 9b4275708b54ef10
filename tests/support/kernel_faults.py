"""Kernels made wrong on purpose, between the model's definition and its machine code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tvm import tirx
from tvm_ffi import structural_map

import ferrylm.compile.library

Change = Callable[[Any], Any]


def inject(monkeypatch: pytest.MonkeyPatch, faults: Mapping[str, Change]) -> dict[str, str]:
    """Let compiles change the first kernel whose name has each prefix.

    Returns, filled by the compile, prefix -> name of the kernel. A fault that finds no kernel, or
    nothing in it to change, fails the compile.
    """
    changed: dict[str, str] = {}
    original = ferrylm.compile.library.add_check_functions

    def with_faults(module: Any, *rest: Any) -> Any:
        module, checks = original(module, *rest)
        for prefix, change in faults.items():
            name = next(
                str(var.name_hint)
                for var in module.get_global_vars()
                if fits(str(var.name_hint), prefix)
            )
            before = module[name]
            after = tirx.PrimFunc(before.params, change(before.body), attrs=before.attrs)
            if str(after) == str(before):
                raise ValueError(f"nothing to change in {name}")
            module[name] = after
            changed[prefix] = name
        return module, checks

    monkeypatch.setattr(ferrylm.compile.library, "add_check_functions", with_faults)
    return changed


def fits(name: str, pattern: str) -> bool:
    """Tell whether a kernel's name begins and ends with the parts around the pattern's star."""
    first, _, last = pattern.partition("*")
    return name.startswith(first) and name.endswith(last)


def stores(text: str, change: Callable[[Any], Any]) -> Change:
    """Change the value of every store whose text holds `text`."""

    def visit(store: Any) -> Any:
        if text not in str(store):
            return store
        return tirx.BufferStore(store.buffer, change(store.value), store.indices)

    return lambda body: structural_map(body, (tirx.BufferStore, visit))


def nodes(kind: type, fit: Callable[[Any], bool], change: Callable[[Any], Any]) -> Change:
    """Change every node of a kind that fits."""
    return lambda body: structural_map(
        body, (kind, lambda node: change(node) if fit(node) else node)
    )


def shorter(fit: Callable[[Any], bool]) -> Change:
    """Leave out the last turn of the loops that fit."""

    def change(loop: Any) -> Any:
        extent = tirx.IntImm(str(loop.extent.ty.dtype), int(loop.extent) - 1)
        return tirx.For(
            loop.loop_var, loop.min, extent, loop.kind, loop.body, None, loop.annotations
        )

    return nodes(tirx.For, fit, change)
