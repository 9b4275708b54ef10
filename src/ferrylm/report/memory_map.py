"""What lies in the device's memory."""

from __future__ import annotations

from dataclasses import dataclass

from ferrylm.report.measurement import Measurement
from ferrylm.report.numbers import size
from ferrylm.report.svg import Drawing

_WIDTH, _BAR, _ROW = 960.0, 48.0, 24.0
_LOOKS = 8  # colours of the style sheet: map0 to map7
_COLUMNS = 3


@dataclass(frozen=True)
class _Part:
    name: str
    size_bytes: int
    look: str


def memory_map(found: Measurement) -> str:
    """Return the parts side by side, as wide as they are large, with their names and sizes."""
    parts = _parts(found)
    total = sum(part.size_bytes for part in parts)
    rows = -(-len(parts) // _COLUMNS)
    whole = found.device_bytes
    height = _BAR + 16 + rows * _ROW + (52 if whole else 8)
    drawing = Drawing(
        "memory",
        _WIDTH,
        height,
        "Memory",
        ", ".join(f"{part.name} {size(part.size_bytes)}" for part in parts),
    )
    x = 0.0
    for part in parts:
        width = _WIDTH * part.size_bytes / max(total, 1)
        tip = f"{part.name}\n{size(part.size_bytes)}"
        drawing.rect(x, 0, width, _BAR, f"bar {part.look}", tip)
        x += width
    for index, part in enumerate(parts):
        left = (index % _COLUMNS) * _WIDTH / _COLUMNS
        y = _BAR + 20 + (index // _COLUMNS) * _ROW
        drawing.rect(left, y, 13, 13, f"bar {part.look}")
        share = 100 * part.size_bytes / max(total, 1)
        text = f"{part.name}: {size(part.size_bytes)} ({share:.1f} %)"
        drawing.text(left + 20, y + 11, text, "label")
    if whole:
        _of_device(drawing, height - 30, total, whole)
    return drawing.markup()


def _of_device(drawing: Drawing, y: float, total: int, whole: int) -> None:
    drawing.rect(0, y, _WIDTH, 8, "bar empty", f"memory of the device\n{size(whole)}")
    used = min(1.0, total / whole)
    drawing.rect(0, y, _WIDTH * used, 8, "bar map0", f"this model\n{size(total)}")
    text = f"{size(total)} of the device's {size(whole)} ({100 * total / whole:.1f} %)"
    drawing.text(0, y + 26, text, "label")


def _parts(found: Measurement) -> list[_Part]:
    """Return the parts, largest weights first, and each small rest under one name."""
    items = list(found.memory_bytes.items())
    weights = sorted((i for i in items if i[0].startswith("weights")), key=lambda i: -i[1])
    others = [i for i in items if not i[0].startswith("weights")]
    room = max(1, _LOOKS - len(others))
    if len(weights) > room:
        rest = sum(item_bytes for _, item_bytes in weights[room - 1 :])
        weights = [*weights[: room - 1], ("weights: all others", rest)]
    shown = [*weights, *others][:_LOOKS]
    return [_Part(name, count, f"map{index}") for index, (name, count) in enumerate(shown)]
