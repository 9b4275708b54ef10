"""Device memory of the native HIP runtime: cached, accounted for, and typed when it runs out."""

from __future__ import annotations

from hip_builds import run_scenario

_MIB = 1 << 20


def test_freed_memory_is_used_again_for_tensors_of_about_the_same_size() -> None:
    run_scenario(
        """
dev = tvm.device("rocm", 0)
for size in (1000, 1010, 990):
    x = tvm.runtime.empty((size,), "float32", dev)
    del x
assert len(calls("hipMalloc")) == 1
kept = [tvm.runtime.empty((1000,), "float32", dev) for _ in range(3)]
assert len(calls("hipMalloc")) == 3
tvm.runtime.empty((100_000,), "float32", dev)   # far too large for what is cached
report = hip_backend.memory_report()
assert report["in_use_bytes"] == 3 * 4096 and report["cached_bytes"] > 400_000, report
del kept
hip_backend.call("release_cache", 0)
assert hip_backend.memory_report()["allocated_bytes"] == 0
assert driver.stand_in_used_bytes() == 0 and not problems()
"""
    )


def test_what_is_cached_is_given_back_before_memory_runs_out() -> None:
    run_scenario(
        """
dev = tvm.device("rocm", 0)
x = tvm.runtime.empty((20 << 20,), "uint8", dev)
del x
y = tvm.runtime.empty((40 << 20,), "uint8", dev)
assert hip_backend.memory_report()["allocated_bytes"] == 40 << 20
assert not problems()
""",
        memory_bytes=48 * _MIB,
    )


def test_memory_that_is_not_there_is_a_typed_error_with_figures_and_nothing_is_lost() -> None:
    run_scenario(
        """
from ferrylm.errors import MemoryLimitError
dev = tvm.device("rocm", 0)
kept = tvm.runtime.empty((30 << 20,), "uint8", dev)
for attempt in range(2):
    try:
        with hip_backend.typed_errors():
            tvm.runtime.empty((40 << 20,), "uint8", dev)
        raise SystemExit("no error")
    except MemoryLimitError as error:
        assert isinstance(error, hip_backend.HipMemoryError)
        assert "18.00 MiB free of 48.00 MiB" in error.found and "40.00 MiB" in error.wanted, error
data = np.full(10 << 20, 7, "uint8")
small = tvm.runtime.empty((10 << 20,), "uint8", dev)
small.copyfrom(data)
assert np.array_equal(small.numpy(), data) and not problems()
""",
        memory_bytes=48 * _MIB,
    )


def test_pinned_host_tensors_are_copied_without_a_detour() -> None:
    run_scenario(
        """
dev = tvm.device("rocm", 0)
x = tvm.runtime.empty((256,), "float32", dev)
x.copyfrom(np.arange(256, dtype="float32"))
staged = len(calls("hipEventRecord"))
pinned = tvm.runtime.empty((256,), "float32", tvm_ffi.Device(11, 0))   # kDLROCMHost
x.copyto(pinned)                      # asynchronous
back = tvm.runtime.empty((256,), "float32", dev)
pinned.copyto(back)
assert len(calls("hipEventRecord")) == staged
assert np.array_equal(back.numpy(), np.arange(256, dtype="float32"))
assert not problems()
"""
    )


def test_a_failed_allocation_of_pinned_memory_leaves_the_device_usable() -> None:
    run_scenario(
        """
dev = tvm.device("rocm", 0)
x = tvm.runtime.empty((256,), "float32", dev)
failing("hipHostMalloc", 2)
try:
    with hip_backend.typed_errors():
        x.copyfrom(np.ones(256, "float32"))
    raise SystemExit("no error")
except hip_backend.HipMemoryError as error:
    assert "hipHostMalloc" in str(error)
x.copyfrom(np.ones(256, "float32"))
assert x.numpy().sum() == 256 and not problems()
"""
    )
