"""Numbers as people read them."""

from __future__ import annotations


def binary_size(size_bytes: float) -> str:
    """Return a size in B, KiB, MiB or GiB, as llama-bench writes it: "100.57 MiB"."""
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.2f} {unit}"
    return f"{size_bytes / 1024:.2f} KiB"


def short_count(count: float) -> str:
    """Return a count of parameters as llama-bench writes it: "134.52 M", "8.03 B"."""
    if count >= 1e9:
        return f"{count / 1e9:.2f} B"
    if count >= 1e6:
        return f"{count / 1e6:.2f} M"
    return f"{count / 1e3:.2f} K"


def duration(seconds: float) -> str:
    """Return a duration with about three digits: "0.21 s", "13.4 s", "2 min 5 s"."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
