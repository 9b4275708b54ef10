"""What a kernel may cost on a GPU family, and which kernels cost more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path

from ferrylm.compile.isa.shader_statistics import CompiledKernel
from ferrylm.errors import UsageError
from ferrylm.runtime.strict_json import JsonValue, loads

_FIX = "see docs/steam-deck.md for the keys of a budget"


@dataclass(frozen=True)
class Budget:
    """Limits for the kernels whose name matches `pattern`, a shell pattern.

    `weight_bits` is what a weight takes in memory at least. It tells a count of weights that is
    too high to be true: a loop cannot decode more weights than it loads. Instructions per weight
    are judged where a lane decodes `min_lane_weights` or more; below, what comes before and after
    the loop outweighs it.
    """

    pattern: str
    max_spills: int
    max_vector_registers: int
    max_scratch_bytes: int = 0
    max_instructions_per_weight: float | None = None
    min_lane_weights: int = 0
    weight_bits: float = 4.0
    loop_weights: int | None = None  # where the container does not say it


@dataclass(frozen=True)
class Budgets:
    """All limits of a family; of several budgets that match a kernel the first counts."""

    family: str
    budgets: tuple[Budget, ...]

    def of(self, kernel: str) -> Budget | None:
        """Return the budget of a kernel, by its name."""
        return next((one for one in self.budgets if fnmatchcase(kernel, one.pattern)), None)

    def completed(self, kernels: Sequence[CompiledKernel]) -> list[CompiledKernel]:
        """Return the kernels, with the weights of a turn from here where they have none."""
        return [self._completed(kernel) for kernel in kernels]

    def _completed(self, kernel: CompiledKernel) -> CompiledKernel:
        budget = self.of(kernel.name)
        if budget is None or kernel.loop_weights is not None:
            return kernel
        return replace(kernel, loop_weights=budget.loop_weights)

    def violations(self, kernel: CompiledKernel) -> list[str]:
        """Return what is wrong with a kernel, a sentence each; nothing if it keeps its budget.

        A kernel that the family refuses costs nothing there.
        """
        budget, found = self.of(kernel.name), kernel.statistics
        if kernel.refusal:
            return []
        if budget is None:
            return ["no budget names it"]
        if found is None:
            return [kernel.problem or "it was not compiled"]
        problems = []
        if found.spills > budget.max_spills:
            problems.append(f"{found.spills} spills, at most {budget.max_spills} allowed")
        if found.vector_registers > budget.max_vector_registers:
            problems.append(
                f"{found.vector_registers} vector registers, at most "
                f"{budget.max_vector_registers} allowed"
            )
        if found.scratch_bytes > budget.max_scratch_bytes:
            problems.append(
                f"{found.scratch_bytes} bytes of scratch memory, at most "
                f"{budget.max_scratch_bytes} allowed"
            )
        return problems + _weight_problems(kernel, budget)


def _weight_problems(kernel: CompiledKernel, budget: Budget) -> list[str]:
    """Judge instructions per weight, where the budget limits them."""
    most = budget.max_instructions_per_weight
    if most is None or kernel.statistics is None:
        return []
    if kernel.lane_weights is not None and kernel.lane_weights < budget.min_lane_weights:
        return []
    loop, weights = kernel.statistics.hot_loop, kernel.loop_weights
    if loop is not None and weights and weights * budget.weight_bits > 8 * loop.loaded_bytes:
        return [
            f"a turn of the hot loop loads {loop.loaded_bytes} bytes, which cannot hold the "
            f"{weights} weights of {budget.weight_bits:g} bits that it is said to decode"
        ]
    per_weight = kernel.loop_instructions_per_weight
    if loop is None:
        per_weight = kernel.instructions_per_weight
    if per_weight is None:
        return ["nobody says how many weights a lane decodes"]
    if per_weight > most:
        return [f"{per_weight:.2f} instructions per weight, at most {most:g} allowed"]
    return []


def read_budgets(path: Path) -> Budgets:
    """Read a file of budgets. Raises UsageError."""
    document = loads(path.read_bytes(), what=str(path), error=UsageError)
    if not isinstance(document, dict) or not isinstance(document.get("family"), str):
        raise _malformed(path, "names no family")
    entries = document.get("budgets")
    if not isinstance(entries, list):
        raise _malformed(path, "has no list of budgets")
    return Budgets(str(document["family"]), tuple(_budget(path, entry) for entry in entries))


def _budget(path: Path, entry: JsonValue) -> Budget:
    if not isinstance(entry, dict) or not isinstance(pattern := entry.get("pattern"), str):
        raise _malformed(path, "has a budget without a pattern")
    known = {field.name for field in fields(Budget)} | {"why"}
    if unknown := sorted(set(entry) - known):
        raise _malformed(path, f"has the unknown key {unknown[0]} for {pattern}")
    per_weight = _number(path, entry, "max_instructions_per_weight")
    bits = _number(path, entry, "weight_bits")
    return Budget(
        pattern=pattern,
        max_spills=_count(path, entry, "max_spills") or 0,
        max_vector_registers=_needed(path, entry, "max_vector_registers"),
        max_scratch_bytes=_count(path, entry, "max_scratch_bytes") or 0,
        max_instructions_per_weight=per_weight,
        min_lane_weights=_count(path, entry, "min_lane_weights") or 0,
        weight_bits=Budget.weight_bits if bits is None else bits,
        loop_weights=_count(path, entry, "loop_weights"),
    )


def _count(path: Path, entry: dict[str, JsonValue], key: str) -> int | None:
    value = _number(path, entry, key)
    if value is not None and not isinstance(value, int):
        raise _malformed(path, f"has {key} {value}, not a whole number")
    return value


def _needed(path: Path, entry: dict[str, JsonValue], key: str) -> int:
    value = _count(path, entry, key)
    if value is None:
        raise _malformed(path, f"has no {key} for {entry.get('pattern')}")
    return value


def _number(path: Path, entry: dict[str, JsonValue], key: str) -> int | float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise _malformed(path, f"has {key} {value!r}, not a number")
    return value


def _malformed(path: Path, problem: str) -> UsageError:
    return UsageError(f"{path} {problem}", wanted="a file of budgets", fix=_FIX)
