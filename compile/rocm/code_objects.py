"""Build the code objects of many architectures, a few at a time, each worker in its own process.

LLVM holds Python's lock while it compiles, prints as it likes, and ends the process when it cannot
select an instruction; so the parent only sends LLVM text and receives code. A worker is
`python -m ferrylm.compile.rocm.code_objects`: one pickled job comes in, one pickled answer per
architecture goes out. Both ends are this very program; nothing from outside is ever unpickled.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.compile.worker_process import run_module
from ferrylm.errors import CompileError

if TYPE_CHECKING:
    from ferrylm.compile.rocm.code_object import CodeObject

_MAX_WORKERS = 2


@dataclass(frozen=True)
class Job:
    """Architectures and the finished LLVM text for each."""

    architectures: tuple[Architecture, ...]
    texts: tuple[str, ...]


def build_code_objects(
    texts: Mapping[Architecture, str], workers: int | None = None
) -> dict[str, CodeObject]:
    """Return the code objects of LLVM texts, by architecture, in the given order.

    Raises CompileError.
    """
    processors = len(os.sched_getaffinity(0))
    count = min(workers or _MAX_WORKERS, processors, len(texts))
    architectures, sources = tuple(texts), tuple(texts.values())
    jobs = [Job(architectures[start::count], sources[start::count]) for start in range(count)]
    built: dict[str, CodeObject] = {}
    with ThreadPoolExecutor(count) as pool:
        for answers in pool.map(_run_worker, jobs):
            built |= answers
    return {arch.name: built[arch.name] for arch in architectures}


def _run_worker(job: Job) -> dict[str, CodeObject]:
    done = run_module(
        "ferrylm.compile.rocm.code_objects", pickle.dumps(job), {"TVM_USE_RUNTIME_LIB": "0"}
    )
    answers: dict[str, CodeObject] = {}
    stream = io.BytesIO(done.stdout)
    while stream.tell() < len(done.stdout):
        try:
            answer = pickle.load(stream)
        except (EOFError, pickle.UnpicklingError):
            break
        if isinstance(answer, CompileError):
            raise answer
        answers[answer.architecture] = answer
    missing = [arch.name for arch in job.architectures if arch.name not in answers]
    if missing:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        found = next((line for line in reversed(lines) if "rror" in line), "no message")
        raise CompileError(
            f"LLVM gave no code for {missing[0]}: {found.strip()}",
            wanted="kernels that LLVM can compile for it",
            fix="leave the architecture out, or report this",
        )
    return answers


def _work() -> None:
    """Do one job; whatever LLVM prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    from ferrylm.compile.rocm.code_object import assemble

    job: Job = pickle.load(sys.stdin.buffer)
    with answers:
        for arch, text in zip(job.architectures, job.texts, strict=True):
            try:
                answer: object = assemble(text, arch)
            except CompileError as error:
                answer = error
            answers.write(pickle.dumps(answer))
            answers.flush()
            if isinstance(answer, CompileError):
                return


if __name__ == "__main__":
    # Unpickling must find the classes of the module, not those of __main__.
    from ferrylm.compile.rocm.code_objects import _work as work

    work()
