from __future__ import annotations

import pickle
from pathlib import Path

import failing_job
import pytest
from failing_job import FailingJob

from ferrylm import errors
from ferrylm.compile.library_builds import build_libraries
from ferrylm.errors import CompileError, FerryError
from ferrylm.runtime.progress import ignore_progress


@pytest.fixture(autouse=True)
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jobs run in processes of their own that find the failing job."""
    monkeypatch.setenv("PYTHONPATH", str(Path(failing_job.__file__).parent))
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0, 1})


def test_what_a_worker_refuses_is_refused_here_in_the_same_words() -> None:
    jobs = [FailingJob("rocm-wave32"), FailingJob("rocm-wave64")]
    with pytest.raises(CompileError, match="rocm-wave32 could not be built: a spilled") as caught:
        build_libraries(jobs, ignore_progress)
    assert (caught.value.wanted, caught.value.fix) == ("none", "smaller tiles")


def test_an_unforeseen_error_of_a_worker_is_named_with_its_library() -> None:
    jobs = [FailingJob("vulkan-some", "out of registers"), FailingJob("cpu-some")]
    with pytest.raises(CompileError, match=r"vulkan-some could not be built: .*out of registers"):
        build_libraries(jobs, ignore_progress)


KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, FerryError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickling(kind: type[FerryError]) -> None:
    error = kind("a", wanted="b", fix="c")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.found, copy.wanted, copy.fix, str(copy)) == ("a", "b", "c", str(error))
