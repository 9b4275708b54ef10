"""Kernels and copies of the native HIP runtime, against a stand-in driver that checks each call."""

from __future__ import annotations

from pathlib import Path

import pytest
from hip_builds import run_scenario

_OPEN = """
mod = tvm.runtime.load_module({path!r})
dev = tvm.device("rocm", 0)
def on_device(data, device=dev):
    tensor = tvm.runtime.empty(data.shape, str(data.dtype), device)
    tensor.copyfrom(data)
    return tensor
"""


@pytest.mark.parametrize("runtime_only", [True, False])
def test_kernels_run_on_what_tvm_copies_to_the_device(
    increment_library: Path, runtime_only: bool
) -> None:
    run_scenario(
        _OPEN.format(path=str(increment_library))
        + """
assert dev.exist and not tvm.device("rocm", 1).exist
data = np.arange(100_003, dtype="float32")
x = on_device(data)
for step in range(3):
    mod["increment"](x, data.size)
assert np.array_equal(x.numpy(), data + 3)
assert len(calls("hipModuleLoadData")) == 1 and not problems()
""",
        runtime_only=runtime_only,
    )


def test_each_chip_runs_its_own_code_or_that_of_its_family(increment_library: Path) -> None:
    entries = {
        "gfx1033": "gfx10-3-generic",
        "gfx1035": "gfx10-3-generic",
        "gfx1036": "gfx10-3-generic",
        "gfx1103": "gfx11-generic",
        "gfx1100": "gfx1100",
        "gfx90a": "gfx90a",
        "gfx942": "gfx942",
    }
    run_scenario(
        _OPEN.format(path=str(increment_library))
        + f"""
for index, (chip, entry) in enumerate({entries!r}.items()):
    device = tvm.device("rocm", index)
    x = on_device(np.zeros(1000, "float32"), device)
    mod["increment"](x, 1000)
    assert x.numpy().sum() == 1000, chip
    assert f"chose {{entry}} for {{chip}}" in log(), chip
    report = hip_backend.device_report(index)
    assert report["chip"] == chip and report["wave"] == (64 if chip in ("gfx90a", "gfx942") else 32)
    assert device.warp_size == report["wave"]
assert not problems()
""",
        chips=",".join(entries),
    )


def test_a_chip_without_code_is_a_typed_error_and_other_devices_go_on(
    increment_library: Path,
) -> None:
    run_scenario(
        _OPEN.format(path=str(increment_library))
        + """
x = on_device(np.zeros(10, "float32"))
for attempt in range(2):
    try:
        with hip_backend.typed_errors():
            mod["increment"](x, 10)
        raise SystemExit("a kernel ran on gfx803")
    except hip_backend.HipArchitectureError as error:
        assert "gfx1100" in error.found and "gfx803" in error.wanted, error
        assert "--rocm-arch gfx803" in error.fix, error
other = on_device(np.zeros(10, "float32"), tvm.device("rocm", 1))
mod["increment"](other, 10)
assert other.numpy().sum() == 10
assert not problems()
""",
        chips="gfx803,gfx1201",
    )


def test_copies_of_many_parts_arrive_whole_and_free_the_hosts_memory_at_once(
    increment_library: Path,
) -> None:
    run_scenario(
        _OPEN.format(path=str(increment_library))
        + """
size = 5_000_001  # five parts of pinned memory, the last one short
rng = np.random.default_rng(7)
data = rng.standard_normal(size).astype("float32")
host = tvm.runtime.empty((size,), "float32", tvm.cpu())
host.copyfrom(data)
x = tvm.runtime.empty((size,), "float32", dev)
host.copyto(x)                                    # returns before the copy has run
np.from_dlpack(host)[:] = -1                      # what was read must not matter any more
y = tvm.runtime.empty((size,), "float32", dev)
x.copyto(y)
mod["increment"](y, size)
assert np.array_equal(x.numpy(), data)
assert np.array_equal(y.numpy(), data + np.float32(1))
assert not problems()
"""
    )


def test_copies_from_one_device_to_another_are_ordered_after_the_first_ones_work(
    increment_library: Path,
) -> None:
    run_scenario(
        _OPEN.format(path=str(increment_library))
        + """
other = tvm.device("rocm", 1)
x = on_device(np.zeros(3000, "float32"))
y = tvm.runtime.empty((3000,), "float32", other)
mod["increment"](x, 3000)
x.copyto(y)
mod["increment"](y, 3000)
assert y.numpy().sum() == 6000 and x.numpy().sum() == 3000
assert not problems()
""",
        chips="gfx1100,gfx1100",
    )


def test_work_of_a_second_stream_waits_where_it_is_told_to(increment_library: Path) -> None:
    run_scenario(
        _OPEN.format(path=str(increment_library))
        + """
x = on_device(np.zeros(3000, "float32"))
mod["increment"](x, 3000)
stream = dev.create_raw_stream()
dev.sync_raw_stream(stream) if hasattr(dev, "sync_raw_stream") else dev.sync(stream)
dev.set_raw_stream(stream)
mod["increment"](x, 3000)
dev.sync(stream)
dev.set_raw_stream(0)
assert x.numpy().sum() == 6000
before = len(calls("hipDeviceSynchronize"))
del x
assert len(calls("hipDeviceSynchronize")) == before + 1  # reuse is ordered on one stream only
dev.free_raw_stream(stream)
assert not problems()
"""
    )


def test_a_failed_launch_is_a_typed_error_and_the_next_one_runs(increment_library: Path) -> None:
    run_scenario(
        _OPEN.format(path=str(increment_library))
        + """
x = on_device(np.zeros(100, "float32"))
failing("hipModuleLaunchKernel", 719)
try:
    with hip_backend.typed_errors():
        mod["increment"](x, 100)
    raise SystemExit("no error")
except hip_backend.HipLaunchError as error:
    assert "increment_kernel" in str(error) and "hipErrorLaunchFailure (719)" in str(error)
mod["increment"](x, 100)
assert x.numpy().sum() == 100 and not problems()
"""
    )


def test_malformed_modules_are_refused_without_a_crash(increment_library: Path) -> None:
    run_scenario(
        _OPEN.format(path=str(increment_library))
        + """
whole = Path({path!r}).read_bytes()
start = whole.index(b"hsaco") - 8
bundle = whole.index(b"__CLANG_OFFLOAD_BUNDLE__")
size = int.from_bytes(whole[bundle - 8:bundle], "little")
module = whole[start:bundle + size]
make = tvm.get_global_func("ferrylm.hip.module_from_bytes")
assert make(module).kind == "hip"
damaged = [module[:cut] for cut in (0, 7, 12, 20, 40, 60, 80, 110, bundle - start, len(module) - 1)]
damaged.append(module + b"x")
for at in range(0, bundle - start, 3):
    damaged.append(module[:at] + b"\\xff" * 8 + module[at + 8:])
refused = 0
for data in damaged:
    try:
        make(data)
    except Exception as error:
        typed = hip_backend.error_from_message(str(error))
        assert type(typed) is hip_backend.HipError, error
        refused += 1
assert refused > len(damaged) // 2, (refused, len(damaged))
""".replace("{path!r}", repr(str(increment_library)))
    )
