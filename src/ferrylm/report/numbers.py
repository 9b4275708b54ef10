"""Numbers as a page shows them."""

from __future__ import annotations


def short(value: float) -> str:
    """Return a coordinate: at most two decimals, no zeros at the end."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def three_digits(value: float) -> str:
    """Return a number with about three digits: 1234, 56.7, 0.089."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def duration(microseconds: float) -> str:
    """Return a duration in its fitting unit: 8.21 µs, 1.33 ms, 2.50 s."""
    if microseconds >= 1e6:
        return f"{three_digits(microseconds / 1e6)} s"
    if microseconds >= 1e3:
        return f"{three_digits(microseconds / 1e3)} ms"
    return f"{three_digits(microseconds)} µs"


def size(size_bytes: float) -> str:
    """Return a size in units of 1000: 354 kB, 30.3 MB, 4.71 GB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= scale:
            return f"{three_digits(size_bytes / scale)} {unit}"
    return f"{size_bytes:.0f} B"


def rate(giga_per_second: float) -> str:
    """Return operations a second: 85.1 Gop/s, 1.20 Top/s."""
    if giga_per_second >= 1e3:
        return f"{three_digits(giga_per_second / 1e3)} Top/s"
    return f"{three_digits(giga_per_second)} Gop/s"
