"""Recordings of the native HIP runtime: graphs that are replayed, and what they keep alive."""

from __future__ import annotations

from pathlib import Path

import pytest
from hip_builds import run_scenario


@pytest.fixture
def opening(increment_library: Path) -> str:
    """Return code that opens the library and a tensor of zeros on device 0."""
    return f"""
mod = tvm.runtime.load_module({str(increment_library)!r})
dev = tvm.device("rocm", 0)
def zeros(count):
    tensor = tvm.runtime.empty((count,), "float32", dev)
    tensor.copyfrom(np.zeros(count, "float32"))
    return tensor
x = zeros(1000)
"""


def test_what_is_recorded_runs_once_and_again_at_each_replay(opening: str) -> None:
    run_scenario(
        opening
        + """
mod["increment"](x, 1000)
with hip_backend.recording() as made:
    mod["increment"](x, 1000)
    mod["increment"](x, 1000)
assert x.numpy()[0] == 3
launched = len(calls("hipModuleLaunchKernel"))
for step in range(5):
    hip_backend.replay(made[0])
assert x.numpy()[-1] == 13
assert len(calls("hipModuleLaunchKernel")) == launched and len(calls("hipGraphLaunch")) == 6
assert not problems()
"""
    )


def test_memory_freed_while_recording_stays_until_the_recording_is_gone(opening: str) -> None:
    run_scenario(
        opening
        + """
temporary = zeros(4000)
with hip_backend.recording() as made:
    mod["increment"](temporary, 4000)
    temporary.copyto(zeros_before := tvm.runtime.empty((4000,), "float32", dev))
    del temporary
    again = tvm.runtime.empty((4000,), "float32", dev)   # may be the same memory
    mod["increment"](again, 4000)
    del again, zeros_before
others = [zeros(4000) for _ in range(4)]                  # must be none of the recording's
hip_backend.replay(made[0])
hip_backend.replay(made[0])
dev.sync()
assert all(other.numpy().sum() == 0 for other in others)
in_use = hip_backend.memory_report()
made.clear()
assert hip_backend.memory_report()["cached_bytes"] > in_use["cached_bytes"]
assert len(calls("hipGraphExecDestroy")) == 1 and not problems()
"""
    )


def test_memory_of_a_recording_is_not_given_out_when_its_tensor_is_freed_later(
    opening: str,
) -> None:
    run_scenario(
        opening
        + """
with hip_backend.recording() as made:
    mod["increment"](x, 1000)
dev.sync()
del x
y = zeros(1000)
hip_backend.replay(made[0])
dev.sync()
assert y.numpy().sum() == 0 and not problems()
"""
    )


def test_host_data_of_a_recorded_copy_is_kept_as_it_was(opening: str) -> None:
    run_scenario(
        opening
        + """
host = tvm.runtime.empty((1000,), "float32", tvm.cpu())
host.copyfrom(np.full(1000, 5, "float32"))
with hip_backend.recording() as made:
    host.copyto(x)
    mod["increment"](x, 1000)
host.copyfrom(np.zeros(1000, "float32"))
assert x.numpy()[0] == 6
mod["increment"](x, 1000)
hip_backend.replay(made[0])
assert x.numpy()[0] == 6 and not problems()
"""
    )


def test_the_host_cannot_wait_or_read_while_recording_and_goes_on_afterwards(
    opening: str,
) -> None:
    run_scenario(
        opening
        + """
for wait in (dev.sync, x.numpy):
    try:
        with hip_backend.recording() as made:
            mod["increment"](x, 1000)
            with hip_backend.typed_errors():
                wait()
        raise SystemExit("no error")
    except hip_backend.HipRecordingError as error:
        assert "while a recording is made" in str(error)
    assert not made
try:
    hip_backend.call("record_end", 0)
    raise SystemExit("no error")
except hip_backend.HipRecordingError:
    pass
mod["increment"](x, 1000)
assert x.numpy()[0] == 1 and not problems()   # what was recorded in vain never ran
"""
    )


@pytest.mark.parametrize("function", ["hipGraphInstantiate", "hipStreamEndCapture"])
def test_a_graph_that_cannot_be_made_is_a_typed_error(opening: str, function: str) -> None:
    run_scenario(
        opening
        + f"""
with hip_backend.recording() as warm:
    mod["increment"](x, 1000)
failing({function!r}, 901)
"""
        + """
try:
    with hip_backend.recording() as made:
        mod["increment"](x, 1000)
    raise SystemExit("no error")
except hip_backend.HipRecordingError as error:
    assert "901" in str(error)
assert x.numpy()[0] == 1
"""
    )
