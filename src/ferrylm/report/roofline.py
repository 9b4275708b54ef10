"""The roofline: how many operations a kernel makes of each byte, and how fast it makes them.

Williams, Waterman, Patterson: Roofline, an insightful visual performance model, 2009.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ferrylm.report.labels import Box, Mark, place_labels
from ferrylm.report.measurement import KernelTotal, Measurement
from ferrylm.report.numbers import duration, rate, three_digits
from ferrylm.report.svg import Drawing

_WIDTH, _HEIGHT = 960.0, 520.0
_AREA = Box(72, 16, 944, 460)
_LEAST, _MOST = 5.0, 16.0  # radius of a mark


@dataclass(frozen=True)
class _Point:
    label: str
    total: KernelTotal
    share: float  # of its step's kernels
    is_decode: bool
    step: str


@dataclass(frozen=True)
class _Scales:
    """Powers of ten at the edges."""

    left: int
    right: int
    bottom: int
    top: int

    def x(self, intensity: float) -> float:
        part = (math.log10(intensity) - self.left) / (self.right - self.left)
        return _AREA.left + part * (_AREA.right - _AREA.left)

    def y(self, gop_s: float) -> float:
        part = (math.log10(gop_s) - self.bottom) / (self.top - self.bottom)
        return _AREA.bottom - part * (_AREA.bottom - _AREA.top)


def step_letter(index: int) -> str:
    """Return the letter of a step, with which its kernels are numbered."""
    return chr(ord("A") + index) if index < 26 else f"S{index}."


def roofline(found: Measurement) -> str:
    """Return the drawing, "" where no kernel computes anything."""
    points = _points(found)
    if not points:
        return ""
    scales = _scales(points, found.bandwidth_gb_s)
    best = max(points, key=lambda point: point.total.gop_s)
    drawing = Drawing(
        "roofline",
        _WIDTH,
        _HEIGHT,
        "Roofline",
        "Operations a second over operations for each byte, both logarithmic, one mark for each "
        "kernel; the table below has the same figures.",
    )
    _grid(drawing, scales)
    _roofs(drawing, scales, found.bandwidth_gb_s, best.total.gop_s)
    _marks(drawing, scales, points)
    return drawing.markup()


def _points(found: Measurement) -> list[_Point]:
    return [
        _Point(
            f"{step_letter(index)}{number}",
            total,
            total.total_us / max(step.kernel_us, 1e-9),
            step.is_decode,
            step.name,
        )
        for index, step in enumerate(found.steps)
        for number, total in enumerate(step.totals, 1)
        if total.kernel.operations and total.kernel.bytes_moved and total.median_us > 0
    ]


def _scales(points: list[_Point], bandwidth_gb_s: float | None) -> _Scales:
    intensities = [point.total.intensity for point in points]
    rates = [point.total.gop_s for point in points]
    if bandwidth_gb_s is not None:
        rates.append(bandwidth_gb_s * min(intensities))
    left, right = _decades(intensities)
    bottom, top = _decades(rates)
    return _Scales(left, right, bottom, top)


def _decades(values: list[float]) -> tuple[int, int]:
    lowest = math.floor(math.log10(min(values)))
    highest = math.ceil(math.log10(max(values) * 1.3))
    return lowest, max(highest, lowest + 1)


def _grid(drawing: Drawing, scales: _Scales) -> None:
    for power in range(scales.left, scales.right + 1):
        x = scales.x(10.0**power)
        drawing.line(x, _AREA.top, x, _AREA.bottom, "grid")
        drawing.text(x, _AREA.bottom + 18, three_digits(10.0**power), "tick middle")
    for power in range(scales.bottom, scales.top + 1):
        y = scales.y(10.0**power)
        drawing.line(_AREA.left, y, _AREA.right, y, "grid")
        drawing.text(_AREA.left - 8, y + 4, three_digits(10.0**power), "tick end")
    middle_x, middle_y = (_AREA.left + _AREA.right) / 2, (_AREA.top + _AREA.bottom) / 2
    drawing.text(middle_x, _HEIGHT - 14, "operations for each byte moved", "axis middle")
    drawing.text(18, middle_y, "10⁹ operations a second", "axis middle", turn=-90)


def _roofs(
    drawing: Drawing, scales: _Scales, bandwidth_gb_s: float | None, best_gop_s: float
) -> None:
    y = scales.y(best_gop_s)
    drawing.line(_AREA.left, y, _AREA.right, y, "roof dashed")
    drawing.text(_AREA.left + 8, y - 7, f"fastest kernel here: {rate(best_gop_s)}", "label halo")
    if bandwidth_gb_s is None:
        return
    # The line y = bandwidth * x, cut to the area.
    low, high = 10.0**scales.left, 10.0**scales.right
    start = max(low, 10.0**scales.bottom / bandwidth_gb_s)
    end = min(high, 10.0**scales.top / bandwidth_gb_s)
    if end <= start:
        return
    x1, y1 = scales.x(start), scales.y(bandwidth_gb_s * start)
    x2, y2 = scales.x(end), scales.y(bandwidth_gb_s * end)
    drawing.line(x1, y1, x2, y2, "roof")
    turn = math.degrees(math.atan2(y2 - y1, x2 - x1))
    at = 0.12
    text = f"bandwidth: {three_digits(bandwidth_gb_s)} GB/s"
    drawing.text(x1 + at * (x2 - x1), y1 + at * (y2 - y1) - 8, text, "label halo", turn=turn)


def _marks(drawing: Drawing, scales: _Scales, points: list[_Point]) -> None:
    marks = [
        Mark(
            scales.x(point.total.intensity),
            scales.y(point.total.gop_s),
            _LEAST + (_MOST - _LEAST) * math.sqrt(min(1.0, point.share)),
            point.label,
        )
        for point in points
    ]
    places = place_labels(marks, _AREA)
    order = sorted(range(len(points)), key=lambda i: -marks[i].radius)  # small ones on top
    for i in order:
        mark, kernel = marks[i], points[i].total.kernel
        draw = drawing.circle if points[i].is_decode else drawing.diamond
        draw(mark.x, mark.y, mark.radius, f"mark {kernel.kind}", _tip(points[i]))
    for mark, place in zip(marks, places, strict=True):
        if place.led:
            drawing.line(mark.x, mark.y, place.x, place.y, "lead")
        drawing.text(place.x, place.y + 4, mark.label, "label halo middle")


def _tip(point: _Point) -> str:
    total = point.total
    return (
        f"{point.label} {total.kernel.name}\n{point.step}\n{duration(total.median_us)}, "
        f"{three_digits(total.gb_s)} GB/s, {rate(total.gop_s)}, "
        f"{100 * point.share:.1f} % of the kernels' time"
    )
