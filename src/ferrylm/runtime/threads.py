"""The worker threads of kernels on the CPU."""

from __future__ import annotations

import os
import threading

_MOST_THREADS = "TVM_NUM_THREADS"
_BIG_CORES = 1  # TVM's mode that prefers the fastest cores
_pool = threading.local()


def use_threads(count: int) -> None:
    """Give the calling thread's kernels `count` worker threads, itself among them.

    TVM keeps a pool for each thread that calls kernels, so every one of them must be told. A pool
    never grows, and has half of the processors unless the environment says otherwise: so it is
    made for all of them, and then told how many to use.
    """
    if getattr(_pool, "count", None) == count:
        return
    import tvm  # noqa: F401  (it registers the function)
    import tvm_ffi

    os.environ[_MOST_THREADS] = str(max(count, len(os.sched_getaffinity(0))))
    tvm_ffi.get_global_func("runtime.config_threadpool")(_BIG_CORES, count)
    _pool.count = count
