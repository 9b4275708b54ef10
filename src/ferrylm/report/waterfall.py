"""A step in its order: the whole of it as one strip, and the launches of one layer below."""

from __future__ import annotations

import math

from ferrylm.report.measurement import MeasuredStep
from ferrylm.report.numbers import duration
from ferrylm.report.svg import Drawing

_WIDTH, _MARGIN = 960.0, 8.0
_STRIP = 44.0
_ROW = 22.0
_NAMES, _TIMES = 330.0, 70.0  # columns left and right of the bars
_MOST_ROWS = 40
_LONGEST_LAYER, _LATEST_LAYER = 64, 64  # launches: of a layer, and before the first one


def strip(step: MeasuredStep, name: str) -> str:
    """Return all launches of a step side by side, as wide as they are long, and then the rest."""
    whole = max(step.step_us, step.kernel_us)
    drawing = Drawing(
        name,
        _WIDTH,
        _STRIP + 40,
        f"{step.name}: all launches",
        f"{len(step.launch_us)} launches in {duration(step.kernel_us)}; the whole step takes "
        f"{duration(step.step_us)}.",
    )
    scale = (_WIDTH - 2 * _MARGIN) / whole
    x = _MARGIN
    for number, (index, us) in enumerate(zip(step.launch_kernels, step.launch_us, strict=True), 1):
        kernel = step.kernels[index]
        tip = f"{number}. {kernel.name}\n{duration(us)}"
        drawing.rect(x, 4, us * scale, _STRIP, f"bar {kernel.kind}", tip)
        x += us * scale
    if step.rest_us > 0:
        tip = f"between kernels, and on the host\n{duration(step.rest_us)}"
        drawing.rect(x, 4, step.rest_us * scale, _STRIP, "bar rest", tip)
    _axis(drawing, whole, scale)
    return drawing.markup()


def _axis(drawing: Drawing, whole_us: float, scale: float) -> None:
    y = _STRIP + 4
    for tick in ticks(whole_us):
        x = _MARGIN + tick * scale
        drawing.line(x, y, x, y + 6, "tickmark")
        look = "middle"
        if x < _MARGIN + 20:
            look = ""
        elif x > _WIDTH - 40:
            look = "end"
        drawing.text(x, y + 22, duration(tick) if tick else "0", f"tick {look}")


def ticks(whole: float) -> list[float]:
    """Return round numbers from 0 to at most `whole`, in at most ten steps."""
    if whole <= 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(whole / 10))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if whole <= 10 * step)
    return [step * i for i in range(int(whole / step + 1e-9) + 1)]


def layer(step: MeasuredStep, name: str) -> tuple[str, str]:
    """Return a caption, and the launches of one layer one below the other, each from its start."""
    first, count = layer_launches(step.launch_kernels)
    count = min(count, _MOST_ROWS)
    times = step.launch_us[first : first + count]
    caption = f"Launches {first + 1} to {first + count} of {len(step.launch_us)}"
    drawing = Drawing(
        name,
        _WIDTH,
        _ROW * count + 8,
        f"{step.name}: one layer",
        f"{caption}, each with its name and its time.",
    )
    scale = (_WIDTH - _NAMES - _TIMES - _MARGIN) / max(sum(times), 1e-9)
    x = _NAMES
    for row, us in enumerate(times):
        kernel = step.kernels[step.launch_kernels[first + row]]
        y = 4 + row * _ROW
        if row % 2:
            drawing.rect(0, y, _WIDTH, _ROW, "band")
        drawing.text(_NAMES - 10, y + 15, _fitting(kernel.name), "code end")
        width = max(us * scale, 1.5)
        drawing.rect(x, y + 3, width, _ROW - 6, f"bar {kernel.kind}", kernel.name)
        drawing.text(x + width + 6, y + 15, duration(us), "tick")
        x += us * scale
    return caption, drawing.markup()


def _fitting(name: str) -> str:
    return name if len(name) <= 44 else name[:28] + "…" + name[-15:]


def layer_launches(kernels: tuple[int, ...]) -> tuple[int, int]:
    """Return where the layer in the middle of a step begins, and how many launches it has.

    A layer is what comes again and again; without that all launches are returned.
    """
    for length in range(2, min(_LONGEST_LAYER, len(kernels) // 2) + 1):
        for first in range(min(_LATEST_LAYER, len(kernels) - 2 * length) + 1):
            one = kernels[first : first + length]
            times = 1
            while kernels[first + times * length : first + (times + 1) * length] == one:
                times += 1
            # Most of the step, so that a pair within a layer is not taken for one.
            if times > 1 and 2 * times * length > len(kernels):
                return first + (times // 2) * length, length
    return 0, len(kernels)
