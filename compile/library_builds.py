"""Building several libraries at once, each in a process of its own.

TVM and LLVM hold Python's lock while they compile, so threads would take turns. A worker is
`python -m ferrylm.compile.library_builds`: a pickled job comes in, a pickled answer goes out. Both
ends are this very program; nothing from outside is ever unpickled.
"""

from __future__ import annotations

import os
import pickle
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ferrylm.compile.library import BuiltLibrary, LibraryJob
from ferrylm.compile.worker_process import run_module
from ferrylm.errors import CompileError
from ferrylm.runtime.progress import Progress, ProgressCallback

_EXCEPTION = re.compile(r"[\w.]+(?:Error|Exception|Interrupt)\b")


def build_libraries(jobs: Sequence[LibraryJob], progress: ProgressCallback) -> list[BuiltLibrary]:
    """Build all, as many at a time as there are processors; a single one in this process.

    Raises CompileError.
    """
    workers = min(len(jobs), len(os.sched_getaffinity(0)))
    run = _run_in_worker if workers > 1 else _run_here
    progress(Progress("libraries", 0, len(jobs), "targets"))
    built = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for library in pool.map(run, jobs):
            built.append(library)
            progress(Progress("libraries", len(built), len(jobs), "targets"))
    return built


def _run_here(job: LibraryJob) -> BuiltLibrary:
    return job.run()


def _run_in_worker(job: LibraryJob) -> BuiltLibrary:
    done = run_module(
        "ferrylm.compile.library_builds", pickle.dumps(job), {"TVM_USE_RUNTIME_LIB": "0"}
    )
    if done.returncode != 0:
        said = _complaint(done.stderr.decode(errors="replace"))
        raise CompileError(
            f"the library {job.target} could not be built: {said}",
            wanted="a model that its schedules can lower",
            fix="report this with the output of ferry compile --debug",
        )
    answer: BuiltLibrary | CompileError = pickle.loads(done.stdout)
    if isinstance(answer, CompileError):
        raise CompileError(
            f"the library {job.target} could not be built: {answer.found}",
            wanted=answer.wanted,
            fix=answer.fix,
        )
    return answer


def _complaint(stderr: str) -> str:
    """Return the line that names an exception; what TVM says while it is torn down comes later."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if _EXCEPTION.match(line)]
    return (errors or lines or ["no message"])[-1]


def _work() -> None:
    """Do one job; whatever the compiler prints goes to stderr."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job: LibraryJob = pickle.load(sys.stdin.buffer)
    try:
        found: BuiltLibrary | CompileError = job.run()
    except CompileError as error:
        found = error
    with answer:
        answer.write(pickle.dumps(found))


if __name__ == "__main__":
    # Unpickling must find the classes of the module, not those of __main__.
    from ferrylm.compile.library_builds import _work as work

    work()
