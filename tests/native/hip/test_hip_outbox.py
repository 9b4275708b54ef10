"""What the device writes for the host to read behind it."""

from __future__ import annotations

from pathlib import Path

from hip_builds import run_scenario


def test_entries_are_read_while_later_work_waits(increment_library: Path) -> None:
    """The stand-in runs nothing before somebody waits for it."""
    run_scenario(
        f"""
from ferrylm.runtime.hip_outbox import HipOutbox
mod = tvm.runtime.load_module({str(increment_library)!r})
"""
        + """
outbox = HipOutbox(0, 2, 4)
assert outbox.tensor.shape == (2, 4) and str(outbox.tensor.device).startswith("rocm")
outbox._numbers[...] = 0  # nothing is under way
for entry in (0, 1):
    mod["increment"](outbox.tensor._create_view((8,), "float32"), 8)
    outbox.post(entry)
assert not outbox.is_there(0)
assert outbox.take(0).view("float32").tolist() == [1, 1, 1, 1]
assert outbox.is_there(0) and not outbox.is_there(1)
assert outbox.take(1).view("float32").tolist() == [2, 2, 2, 2]
outbox.post(1)  # again, at another place
assert outbox.take(1).view("float32").tolist() == [2, 2, 2, 2]
del outbox
assert not problems()
"""
    )


def test_steps_that_are_replayed_leave_their_entries(increment_library: Path) -> None:
    run_scenario(
        f"""
from ferrylm.runtime.hip_outbox import HipOutbox
mod = tvm.runtime.load_module({str(increment_library)!r})
"""
        + """
outbox = HipOutbox(0, 3, 2)
numbers = outbox.tensor._create_view((6,), "float32")
outbox._numbers[...] = 0
mod["increment"](numbers, 6)
with hip_backend.recording() as made:
    mod["increment"](numbers, 6)
for entry in range(3):
    hip_backend.replay(made[0])
    outbox.post(entry)
assert outbox.take(2).view("float32").tolist() == [5, 5]
assert not problems()
"""
    )


def test_marks_are_refused_while_a_recording_is_made(increment_library: Path) -> None:
    del increment_library
    run_scenario(
        """
from ferrylm.errors import FerryError
from ferrylm.runtime.hip_outbox import HipOutbox
outbox = HipOutbox(0, 1, 1)
try:
    with hip_backend.recording():
        outbox.post(0)
except hip_backend.HipRecordingError as error:
    assert "sets a mark" in str(error)
else:
    raise AssertionError("a mark within a recording")
outbox.post(0)
outbox.take(0)
assert not problems()
"""
    )
