"""What an operation of ours is, and how its body in CUDA C++ is written down."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """One operation; `body` defines `ferrylm_NAME` in CUDA C++ with the help of prelude.py.

    `shared` ones mean the same on Vulkan and ROCm. `effect` says that a call does more than return
    a value: such are called with `T.call_extern`, the others with `T.call_pure_extern`. The body
    may call the operations that it `needs`.
    """

    name: str
    arguments: str
    result: str
    meaning: str
    body: str
    shared: bool = False
    effect: bool = False
    needs: tuple[str, ...] = ()


def function(result: str, name: str, parameters: str, statements: str) -> str:
    """Return the definition of a device function."""
    return f"FERRYLM_DEVICE {result} ferrylm_{name}({parameters}) {{ {statements} }}\n"


def template(result: str, name: str, parameters: str, statements: str) -> str:
    """Return the definition of a device function for any type T."""
    return "template <class T> " + function(result, name, parameters, statements)


def assembly(text: str, operands: str = "", *, memory: bool = False, order: bool = False) -> str:
    """Return a PTX statement.

    One that `order` is given keeps its place among others of the kind; one that touches `memory`
    keeps it among all reads and writes too.
    """
    volatile = "volatile " if memory or order else ""
    clobber = f'{operands or " : : "} : "memory"' if memory else operands
    return f'asm {volatile}("{text}"{clobber});'
