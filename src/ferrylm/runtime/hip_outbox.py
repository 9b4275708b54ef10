"""Numbers that an AMD GPU writes into pinned memory of the host."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ferrylm.runtime import hip_backend
from ferrylm.runtime.backends.base import Array


class HipOutbox:
    """int32 (entries, size); an entry is there when the mark behind it was reached."""

    def __init__(self, index: int, entries: int, size: int) -> None:
        """Take memory of a device. Raises MemoryLimitError, DeviceError."""
        whole = hip_backend.call("outbox", index, entries * size)
        self.tensor: Any = whole._create_view((entries, size))
        self._index: int = index
        self._marks: list[Any] = [None] * entries
        seen = (ctypes.c_int32 * (entries * size)).from_address(whole.data_ptr())
        self._numbers: Array = np.ctypeslib.as_array(seen).reshape(entries, size)

    def post(self, entry: int) -> None:
        """Set a mark behind all work so far."""
        self._marks[entry] = hip_backend.call("mark", self._index)

    def is_there(self, entry: int) -> bool:
        """Ask whether the device has come to the entry's mark."""
        return bool(hip_backend.call("is_reached", self._marks[entry]))

    def take(self, entry: int) -> Array:
        """Wait for an entry; return a copy."""
        hip_backend.call("wait", self._marks[entry])
        found: Array = self._numbers[entry].copy()
        return found
