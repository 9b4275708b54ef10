"""Reading and writing an artifact's golden data, without trusting what is read."""

from __future__ import annotations

from collections.abc import Iterable

from ferrylm.errors import ArtifactError
from ferrylm.runtime.golden_format import (
    FORMAT_NAME,
    FORMAT_VERSION,
    Golden,
    KernelCase,
    KernelCheck,
    Trace,
    refused,
)
from ferrylm.runtime.manifest_codec import decode, encode
from ferrylm.runtime.strict_json import dumps_canonical, loads

MAX_GOLDEN_BYTES = 16 << 20
MAX_ROWS = 64  # of activations in one case
MAX_COUNT = 2**31 - 1
MAX_BATCH = 64  # a call of more rows would be no decode step

OPERATIONS = ("embed", "norm_linear", "linear", "rope_decode", "rope_prefill", "select_row", "draw")
STORAGES = ("q4", "q8", "f16", "f32")
EPILOGUES = ("", "plain", "residual", "post_norm", "bias", "capped", "swiglu", "geglu")


def golden_bytes(golden: Golden) -> bytes:
    """Return the one text of the golden data."""
    return dumps_canonical(encode(Golden, golden, ""))


def parse_golden(data: bytes, what: str) -> Golden:
    """Read and check golden data; `what` names the file. Raises ArtifactError."""
    try:
        document = loads(data, what=what, max_bytes=MAX_GOLDEN_BYTES)
        golden: Golden = decode(Golden, document, "")
        _check(golden)
    except ArtifactError as problem:
        found = problem.found.replace("manifest.json:", f"{what}:", 1)
        found = found if found.startswith(what) else f"{what}: {found}"
        raise ArtifactError(found, wanted=problem.wanted, fix=problem.fix) from None
    return golden


def _check(golden: Golden) -> None:
    if (golden.format, golden.version) != (FORMAT_NAME, FORMAT_VERSION):
        raise refused(
            f"format {golden.format[:40]!a}, version {golden.version}",
            f"{FORMAT_NAME}, version {FORMAT_VERSION}",
        )
    cases = {case.name: case for case in golden.cases}
    _check_unique("case", [case.name for case in golden.cases])
    _check_unique("target", [library.target for library in golden.libraries])
    for case in golden.cases:
        _check_case(case)
    for library in golden.libraries:
        _check_positive("a tolerance", library.trace.logit)
        _check_positive("a tolerance", library.trace.gap)
        for check in library.checks:
            _check_check(check, cases)
    if golden.trace is not None:
        _check_trace(golden.trace)


def _check_case(case: KernelCase) -> None:
    _check_member("operation", case.operation, OPERATIONS)
    _check_member("epilogue", case.epilogue, EPILOGUES)
    _check_range("rows", case.rows, 1, MAX_ROWS)
    _check_range("width", case.width, 1, MAX_COUNT)
    if (case.matrix is not None) != (case.operation in ("embed", "norm_linear", "linear")):
        raise refused(f"the case {case.name[:80]!a} with a wrong matrix", "one for matmul, embed")
    if case.matrix is not None:
        _check_member("storage", case.matrix.storage, STORAGES)
        _check_range("matrix rows", case.matrix.rows, 2 if case.matrix.pairs else 1, MAX_COUNT)
        _check_range("matrix columns", case.matrix.columns, 1, MAX_COUNT)
    for expected in case.expected.values():
        _check_positive("a tolerance", expected.tolerance)
        if len(expected.values.shape) < 2 or 0 in expected.values.shape:
            raise refused(f"an array of shape {list(expected.values.shape)[:8]}", "rows of numbers")


def _check_check(check: KernelCheck, cases: dict[str, KernelCase]) -> None:
    case = cases.get(check.case)
    if case is None:
        raise refused(f"a check of the case {check.case[:80]!a}", "a case of this file")
    if case.operation != "select_row" and check.expected not in case.expected:
        raise refused(f"a check against {check.expected[:80]!a}", "what its case expects")
    if check.batch is not None:
        _check_range("batch", check.batch, 1, MAX_BATCH)
    _check_range("input_width", check.input_width, 0, MAX_COUNT)
    _check_range("residual_width", check.residual_width, 0, MAX_COUNT)
    for parameter in check.parameters:
        for size in parameter.shape:
            _check_range("shape", size, 1, MAX_COUNT)


def _check_trace(trace: Trace) -> None:
    if not trace.prompt or not trace.steps:
        raise refused("an empty trace", "a prompt and steps")
    for token in (*trace.prompt, *(step.token for step in trace.steps)):
        _check_range("token", token, 0, MAX_COUNT)
    for step in trace.steps:
        _check_positive("a deviation", step.deviation)


def _check_unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise refused(f"the {what} {name[:80]!a} twice", "one of each")
        seen.add(name)


def _check_member(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise refused(f"the {what} {value[:80]!a}", "one of " + ", ".join(filter(None, allowed)))


def _check_range(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise refused(f"{what} = {value}", f"{low} to {high}")


def _check_positive(what: str, value: float) -> None:
    if not 0 < value < 1e6:
        raise refused(f"{what} of {value}", "more than 0")
