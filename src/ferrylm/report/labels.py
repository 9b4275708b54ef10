"""Places for short labels beside marks, so that none covers another."""

from __future__ import annotations

from dataclasses import dataclass

_CHARACTER, _LINE = 7.2, 13.0  # pixels of the labels' text
_NEAR = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
_DISTANCES = (2.0, 14.0, 28.0, 44.0)


@dataclass(frozen=True)
class Box:
    """A rectangle on a drawing."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Say whether two boxes have points in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        """Say whether the other lies in this one."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


@dataclass(frozen=True)
class Mark:
    """A mark that wants a label."""

    x: float
    y: float
    radius: float
    label: str

    @property
    def box(self) -> Box:
        """Return what the mark covers."""
        x, y, r = self.x, self.y, self.radius
        return Box(x - r, y - r, x + r, y + r)


@dataclass(frozen=True)
class Placed:
    """The middle of a label, and whether a line must lead to it."""

    x: float
    y: float
    led: bool


def place_labels(marks: list[Mark], area: Box, obstacles: list[Box]) -> list[Placed]:
    """Return a place for each label within the area, near its mark where there is room."""
    taken = [*obstacles, *(mark.box for mark in marks)]
    found = []
    for mark in marks:
        box, led = _free_box(mark, taken, area)
        taken.append(box)
        found.append(Placed((box.left + box.right) / 2, (box.top + box.bottom) / 2, led))
    return found


def text_box(text: str, left: float, baseline: float) -> Box:
    """Return about what a text covers that begins here."""
    return Box(left, baseline - _LINE, left + _CHARACTER * len(text), baseline + 4)


def _free_box(mark: Mark, taken: list[Box], area: Box) -> tuple[Box, bool]:
    width, height = _CHARACTER * len(mark.label) / 2, _LINE / 2
    for distance in _DISTANCES:
        for sideways, down in _NEAR:
            x = mark.x + sideways * (mark.radius + distance + width)
            y = mark.y + down * (mark.radius + distance + height)
            box = Box(x - width, y - height, x + width, y + height)
            if area.holds(box) and not any(box.meets(other) for other in taken):
                return box, distance > _DISTANCES[0]
    x, y = mark.x, mark.y  # no room anywhere: on the mark itself
    return Box(x - width, y - height, x + width, y + height), False
