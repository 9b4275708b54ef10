"""Where GPU schedules find `without`; it is schedules/signature.py's."""

from ferrylm.schedules.signature import without

__all__ = ["without"]
