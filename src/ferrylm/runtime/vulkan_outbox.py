"""Numbers that a Vulkan device writes into memory that the host sees."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ferrylm.runtime import vulkan_backend
from ferrylm.runtime.backends.base import Array


class VulkanOutbox:
    """int32 (entries, size); an entry is there when the work that was submitted with it is done."""

    def __init__(self, index: int, entries: int, size: int) -> None:
        """Take memory of a device. Raises MemoryLimitError, DeviceError."""
        whole = vulkan_backend.call("outbox", index, entries * size)
        address = vulkan_backend.call("outbox_address", whole)
        self.tensor: Any = whole._create_view((entries, size))
        self._index, self._serials = index, [0] * entries
        seen = (ctypes.c_int32 * (entries * size)).from_address(address)
        self._numbers: Array = np.ctypeslib.as_array(seen).reshape(entries, size)

    def post(self, entry: int) -> None:
        """Submit all work so far."""
        self._serials[entry] = vulkan_backend.call("mark", self._index)

    def is_there(self, entry: int) -> bool:
        """Ask the device whether it has come so far."""
        return bool(vulkan_backend.call("is_complete", self._index, self._serials[entry]))

    def take(self, entry: int) -> Array:
        """Wait for an entry; return a copy."""
        vulkan_backend.call("wait", self._index, self._serials[entry])
        found: Array = self._numbers[entry].copy()
        return found
