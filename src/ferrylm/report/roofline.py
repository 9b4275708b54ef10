"""The roofline: how many operations a kernel makes of each byte, and how fast it makes them.

Williams, Waterman, Patterson: Roofline, an insightful visual performance model, 2009.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ferrylm.report.labels import Box, Mark, place_labels, text_box
from ferrylm.report.measurement import KernelTotal, Measurement
from ferrylm.report.numbers import duration, rate, three_digits
from ferrylm.report.svg import Drawing

_WIDTH, _HEIGHT = 960.0, 520.0
_AREA = Box(72, 16, 928, 460)
_LEAST, _MOST = 4.0, 12.0  # radius of a mark
_ABOVE = 7.0  # pixels between the line and its name
_PIECES = 60  # of the line, each an obstacle
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


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


def _power(power: int) -> str:
    """Return a power of ten as an axis names it: 0.1, 1000, 10⁶."""
    return f"{10.0**power:g}" if power < 5 else "10" + str(power).translate(_RAISED)


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
    marks = _marks(scales, points)
    covered = _roofs(drawing, scales, found, best.total.gop_s, marks)
    _draw_marks(drawing, points, marks, covered)
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
        drawing.text(x, _AREA.bottom + 18, _power(power), "tick middle")
    for power in range(scales.bottom, scales.top + 1):
        y = scales.y(10.0**power)
        drawing.line(_AREA.left, y, _AREA.right, y, "grid")
        drawing.text(_AREA.left - 8, y + 4, _power(power), "tick end")
    middle_x, middle_y = (_AREA.left + _AREA.right) / 2, (_AREA.top + _AREA.bottom) / 2
    drawing.text(middle_x, _HEIGHT - 14, "operations for each byte moved", "axis middle")
    drawing.text(18, middle_y, "10⁹ operations a second", "axis middle", turn=-90)


def _roofs(
    drawing: Drawing, scales: _Scales, found: Measurement, best_gop_s: float, marks: list[Mark]
) -> list[Box]:
    """Draw the limits with their names; return what the names and the lines cover."""
    covered = _bandwidth(drawing, scales, found.bandwidth_gb_s)
    y = scales.y(best_gop_s)
    drawing.line(_AREA.left, y, _AREA.right, y, "roof dashed")
    text = f"fastest kernel here: {rate(best_gop_s)}"
    width = text_box(text, 0, 0).right
    places = [
        (left, baseline)
        for left in (_AREA.left + 8, _AREA.right - 8 - width)
        for baseline in (y - 7, y + 17)
    ]
    taken = [*covered, *(mark.box for mark in marks)]
    left, baseline = min(
        places, key=lambda place: sum(text_box(text, *place).meets(box) for box in taken)
    )
    drawing.text(left, baseline, text, "label halo")
    return [*covered, text_box(text, left, baseline)]


def _bandwidth(drawing: Drawing, scales: _Scales, gb_s: float | None) -> list[Box]:
    """Draw the line y = bandwidth * x as far as it is in the area."""
    if gb_s is None:
        return []
    start = max(10.0**scales.left, 10.0**scales.bottom / gb_s)
    end = min(10.0**scales.right, 10.0**scales.top / gb_s)
    if end <= start:
        return []
    x1, y1, x2, y2 = (
        scale(value)
        for at in (start, end)
        for scale, value in ((scales.x, at), (scales.y, gb_s * at))
    )
    drawing.line(x1, y1, x2, y2, "roof")
    turn = math.atan2(y2 - y1, x2 - x1)
    # The name ends near the upper end, a little above the line.
    x, y = x2 - 12 * math.cos(turn), y2 - 12 * math.sin(turn)
    x, y = x + _ABOVE * math.sin(turn), y - _ABOVE * math.cos(turn)
    name = f"bandwidth: {three_digits(gb_s)} GB/s"
    drawing.text(x, y, name, "label halo end", turn=math.degrees(turn))
    steps = [i / _PIECES for i in range(_PIECES + 1)]
    line = [(x1 + t * (x2 - x1), y1 + t * (y2 - y1)) for t in steps]
    return [Box(x - 4, y - 4, x + 4, y + 4) for x, y in line]


def _marks(scales: _Scales, points: list[_Point]) -> list[Mark]:
    return [
        Mark(
            scales.x(point.total.intensity),
            scales.y(point.total.gop_s),
            _LEAST + (_MOST - _LEAST) * math.sqrt(min(1.0, point.share)),
            point.label,
        )
        for point in points
    ]


def _draw_marks(
    drawing: Drawing, points: list[_Point], marks: list[Mark], obstacles: list[Box]
) -> None:
    order = sorted(range(len(points)), key=lambda i: -marks[i].radius)  # small ones on top
    for i in order:
        mark, kernel = marks[i], points[i].total.kernel
        draw = drawing.circle if points[i].is_decode else drawing.diamond
        draw(mark.x, mark.y, mark.radius, f"mark {kernel.kind}", _tip(points[i]))
    places = place_labels(marks, _AREA, obstacles)
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
