"""Numbers that a device writes while it works on, for the host to read behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ferrylm.runtime.backends.base import Array

if TYPE_CHECKING:
    from ferrylm.runtime.backends.gpu import DeviceMemory


class WaitingOutbox:
    """An outbox for devices that offer nothing better: it waits for all work, then copies."""

    def __init__(self, memory: DeviceMemory, entries: int, size: int) -> None:
        """Take the device's memory."""
        self.tensor = memory.empty((entries, size), "int32")
        self._memory = memory

    def post(self, entry: int) -> None:
        """Do nothing: `take` waits for more than this."""

    def is_there(self, entry: int) -> bool:
        """Say no: nobody knows."""
        del entry
        return False

    def take(self, entry: int) -> Array:
        """Wait for everything; return a copy of the entry."""
        found: Array = self._memory.download(self.tensor)[entry]
        return found
