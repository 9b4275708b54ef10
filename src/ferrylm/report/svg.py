"""A small writer of SVG for pages: shapes with classes for their colours, every text escaped."""

from __future__ import annotations

from html import escape

from ferrylm.report.numbers import short


class Drawing:
    """One picture; coordinates in pixels, y downwards."""

    def __init__(self, name: str, width: float, height: float, title: str, description: str):
        """`name` is unique in the page; title and description are for who cannot see it."""
        self._open = (
            f'<svg viewBox="0 0 {short(width)} {short(height)}" role="img" '
            f'aria-labelledby="{escape(name)}-t {escape(name)}-d">'
            f'<title id="{escape(name)}-t">{escape(title)}</title>'
            f'<desc id="{escape(name)}-d">{escape(description)}</desc>'
        )
        self._parts: list[str] = []

    def rect(
        self, x: float, y: float, width: float, height: float, look: str, tip: str = ""
    ) -> None:
        """Draw a box; `tip` shows where the pointer rests."""
        place = f'x="{short(x)}" y="{short(y)}" width="{short(width)}" height="{short(height)}"'
        self._shape("rect", place, look, tip)

    def circle(self, x: float, y: float, radius: float, look: str, tip: str = "") -> None:
        """Draw a disc."""
        self._shape("circle", f'cx="{short(x)}" cy="{short(y)}" r="{short(radius)}"', look, tip)

    def diamond(self, x: float, y: float, radius: float, look: str, tip: str = "") -> None:
        """Draw a square on its corner."""
        corners = [(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)]
        points = " ".join(f"{short(a)},{short(b)}" for a, b in corners)
        self._shape("polygon", f'points="{points}"', look, tip)

    def line(self, x1: float, y1: float, x2: float, y2: float, look: str) -> None:
        """Draw a line."""
        place = f'x1="{short(x1)}" y1="{short(y1)}" x2="{short(x2)}" y2="{short(y2)}"'
        self._shape("line", place, look, "")

    def text(self, x: float, y: float, text: str, look: str = "", *, turn: float = 0) -> None:
        """Write a line of text; the look says where it is anchored: middle, end, or its start."""
        turned = f' transform="rotate({short(turn)} {short(x)} {short(y)})"' if turn else ""
        self._parts.append(
            f'<text x="{short(x)}" y="{short(y)}" class="{escape(look)}"{turned}>'
            f"{escape(text)}</text>"
        )

    def _shape(self, tag: str, place: str, look: str, tip: str) -> None:
        inner = f"<title>{escape(tip)}</title>" if tip else ""
        self._parts.append(f'<{tag} {place} class="{escape(look)}">{inner}</{tag}>')

    def markup(self) -> str:
        """Return the element."""
        return self._open + "\n".join(self._parts) + "</svg>"
