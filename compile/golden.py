"""The golden data of an artifact: what its libraries must compute on the machine they run on.

docs/verify.md says what is stored and why; `ferry verify` replays it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ferrylm.compile.golden_cases import case_name, kernel_case, kernel_check
from ferrylm.compile.golden_functions import CheckFunction
from ferrylm.compile.golden_recording import Operation
from ferrylm.compile.golden_trace import MAX_PARAMETERS, PROMPT, greedy_trace
from ferrylm.runtime.golden_format import (
    FORMAT_NAME,
    FORMAT_VERSION,
    Golden,
    KernelCase,
    LibraryChecks,
    Trace,
    TraceTolerance,
)
from ferrylm.runtime.golden_inputs import integers
from ferrylm.runtime.golden_json import golden_bytes
from ferrylm.runtime.manifest import Library, ModelConfig
from ferrylm.runtime.tokenizer import Tokenizer

Array = NDArray[np.generic]

# In standard deviations of the logits; docs/verify.md has the measurements behind them.
INT8_TRACE = TraceTolerance(logit=0.5, gap=0.3)
FLOAT16_TRACE = TraceTolerance(logit=0.02, gap=0.02)
# Twice what a float64 reference errs that rounds inputs and weights of products to float16.
PRODUCTS16_TRACE = TraceTolerance(logit=0.05, gap=0.05)
FLOAT32_TRACE = TraceTolerance(logit=1e-3, gap=1e-3)

_RANDOM = "the weights are random: their text means nothing"
_LARGE = f"the model has more than {MAX_PARAMETERS // 10**6} million parameters"

_SENSELESS = "the logits of the model are all alike or not finite"


@dataclass
class WeightTap:
    """Keeps the canonical tensors of a small model while they are on their way to the disk."""

    parameter_count: int
    random: bool  # no tensor ever passes
    kept: dict[str, dict[str, Array]] = field(default_factory=dict)

    @property
    def is_small(self) -> bool:
        """Return whether a plain implementation can run the model within seconds."""
        return self.parameter_count <= MAX_PARAMETERS

    def watch(self, tensors: Iterator[tuple[str, Array]]) -> Iterator[tuple[str, Array]]:
        """Pass all tensors on."""
        for name, array in tensors:
            if self.is_small:
                matrix, _, suffix = name.rpartition(".")
                if suffix not in ("codes", "scale", "minimum", "weight"):
                    matrix, suffix = name, ""
                self.kept.setdefault(matrix, {})[suffix] = array
            yield name, array


def build_golden(
    config: ModelConfig,
    libraries: Sequence[tuple[Library, tuple[CheckFunction, ...]]],
    weights: WeightTap,
    tokenizer: Tokenizer | None,
) -> bytes:
    """Return the golden data of these libraries; all of the model's weights have passed by."""
    trace, note = None, ""
    if weights.random:
        note = _RANDOM
    elif not weights.is_small:
        note = _LARGE
    else:
        trace = _trace(config, weights.kept, tokenizer)
        note = _SENSELESS if trace is None else ""
    golden = Golden(
        format=FORMAT_NAME,
        version=FORMAT_VERSION,
        cases=_cases(config, libraries),
        libraries=tuple(
            LibraryChecks(
                library.target,
                tuple(kernel_check(function, library.kv_dtype) for function in functions),
                _trace_tolerance(library, functions),
            )
            for library, functions in libraries
        ),
        trace=trace,
        trace_note=note,
    )
    return golden_bytes(golden)


def _cases(
    config: ModelConfig, libraries: Sequence[tuple[Library, tuple[CheckFunction, ...]]]
) -> tuple[KernelCase, ...]:
    kv_dtypes = {library.kv_dtype for library, _ in libraries}
    arithmetics: dict[str, set[str]] = {}
    operations: dict[str, Operation] = {}
    for _, functions in libraries:
        for function in functions:
            name = case_name(function.operation)
            operations.setdefault(name, function.operation)
            arithmetics.setdefault(name, set()).add(function.arithmetic)
    return tuple(
        kernel_case(operation, config, arithmetics[name], kv_dtypes)
        for name, operation in operations.items()
    )


def _trace_tolerance(library: Library, functions: Sequence[CheckFunction]) -> TraceTolerance:
    if library.arithmetic == "int8":
        return INT8_TRACE
    if any(function.arithmetic == "f16" for function in functions):
        return PRODUCTS16_TRACE
    return FLOAT16_TRACE if library.kv_dtype == "float16" else FLOAT32_TRACE


def _trace(
    config: ModelConfig, weights: Mapping[str, Mapping[str, Array]], tokenizer: Tokenizer | None
) -> Trace | None:
    prompt = tokenizer.encode(PROMPT, add_special_tokens=True) if tokenizer is not None else []
    if not prompt:
        prompt = [int(i) for i in integers("prompt", (12,), 0, config.vocab_size - 1)]
    prompt = prompt[: max(1, config.context_length // 2)]
    return greedy_trace(config, weights, prompt)
