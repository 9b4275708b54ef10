"""The number of threads can be changed as often as one likes."""

from __future__ import annotations

import os
import threading

import tvm_ffi

from ferrylm.runtime.threads import use_threads


def threads_in_use() -> int:
    return int(tvm_ffi.get_global_func("runtime.NumThreads")())


def test_threads_can_be_more_after_they_were_fewer() -> None:
    most = len(os.sched_getaffinity(0))
    found = []

    def change() -> None:
        for count in (1, most, 1, most):
            use_threads(count)
            found.append(threads_in_use())

    # A pool belongs to a thread; this one's must not be made by another test before.
    worker = threading.Thread(target=change)
    worker.start()
    worker.join()
    assert found == [1, most, 1, most]
