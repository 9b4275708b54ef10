"""What an operation of ours is, and how its body in CUDA C++ is written down."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """One operation; `body` defines `ferrylm_NAME` in CUDA C++ with the help of prelude.py.

    `shared` ones mean the same on Vulkan and ROCm. `effect` says that a call does more than return
    a value: such are called with `T.call_extern`, the others with `T.call_pure_extern`.
    """

    name: str
    arguments: str
    result: str
    meaning: str
    body: str
    shared: bool = False
    effect: bool = False


def function(result: str, name: str, parameters: str, statements: str) -> str:
    """Return the definition of a device function."""
    return f"FERRYLM_DEVICE {result} ferrylm_{name}({parameters}) {{ {statements} }}\n"


def template(result: str, name: str, parameters: str, statements: str) -> str:
    """Return the definition of a device function for any type T."""
    return "template <class T> " + function(result, name, parameters, statements)


def assembly(text: str, operands: str = "", *, keep: bool = False) -> str:
    """Return a PTX statement; `keep` forbids to move or drop it."""
    ordered = ' : "memory"' if keep else ""
    volatile = "volatile " if keep else ""
    outputs = operands or (" : : " if keep else "")
    return f'asm {volatile}("{text}"{outputs}{ordered});'
