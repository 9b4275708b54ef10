"""The style sheet of a report: light and dark, no other file, no script."""

from __future__ import annotations

# Colours that differ in lightness too, each at least 3:1 against its background (WCAG 1.4.11).
_LIGHT = """
  --page: #ffffff; --ink: #1b1f24; --faint: #57606a; --line: #d5dae0; --band: #f4f6f8;
  --product: #2463a8; --head: #8a3fa8; --attention: #b8560b; --norm: #16806a; --lookup: #6f6a00;
  --other: #a12a52; --rest: #858d97;
  --map0: #2463a8; --map1: #16806a; --map2: #b8560b; --map3: #8a3fa8; --map4: #6f6a00;
  --map5: #a12a52; --map6: #57606a; --map7: #14424f;
"""
_DARK = """
  --page: #14171b; --ink: #e7eaee; --faint: #a5adb7; --line: #363c44; --band: #1c2026;
  --product: #62a6ef; --head: #c58ae0; --attention: #ee9547; --norm: #4cc3a5; --lookup: #d2ca4a;
  --other: #f0809f; --rest: #757e89;
  --map0: #62a6ef; --map1: #4cc3a5; --map2: #ee9547; --map3: #c58ae0; --map4: #d2ca4a;
  --map5: #f0809f; --map6: #a5adb7; --map7: #8fd0e3;
"""
_PARTS: tuple[str, ...] = ("product", "head", "attention", "norm", "lookup", "other", "rest")
_PARTS += tuple(f"map{index}" for index in range(8))

_RULES = """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 20px 60px; max-width: 1040px; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 38px 0 6px; }
h3 { font-size: 15px; margin: 24px 0 4px; }
p { margin: 4px 0 10px; }
.faint, caption { color: var(--faint); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px;
  margin: 18px 0 0; padding: 0; }
.facts div { border: 1px solid var(--line); border-radius: 6px; padding: 10px 14px; }
.facts dt { color: var(--faint); font-size: 13px; }
.facts dd { margin: 0; font-size: 21px; font-variant-numeric: tabular-nums; }
.facts dd + dd { font-size: 13px; color: var(--faint); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 6px 0; padding: 0;
  list-style: none; font-size: 13px; }
.legend i { display: inline-block; width: 13px; height: 13px; margin-right: 6px;
  vertical-align: -2px; border-radius: 2px; }
.legend i.disc { border-radius: 50%; background: var(--faint); }
.legend i.diamond { transform: rotate(45deg) scale(.8); background: var(--faint); }
.scroll { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 720px; height: auto; margin: 6px 0;
  font-family: inherit; }
svg text { fill: var(--ink); font-size: 13px; }
svg .tick, svg .axis { fill: var(--faint); font-size: 12px; }
svg .code { font: 12px ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", monospace; }
svg .middle { text-anchor: middle; } svg .end { text-anchor: end; }
svg .halo { paint-order: stroke; stroke: var(--page); stroke-width: 4px; stroke-linejoin: round; }
svg .grid { stroke: var(--line); } svg .tickmark { stroke: var(--faint); }
svg .roof { stroke: var(--ink); stroke-width: 2; } svg .dashed { stroke-dasharray: 7 5; }
svg .lead { stroke: var(--faint); stroke-width: 1; }
svg .mark { stroke: var(--page); stroke-width: 1.5; fill-opacity: .85; }
svg .bar { stroke: var(--page); stroke-width: .4; }
svg .band { fill: var(--band); } svg .empty { fill: var(--line); }
table { border-collapse: collapse; width: 100%; font-size: 13px;
  font-variant-numeric: tabular-nums; margin: 0 0 22px; }
caption { text-align: left; padding: 4px 0; }
th, td { padding: 4px 8px; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
thead th { color: var(--faint); font-weight: 600; vertical-align: bottom; }
th.name, td.name { text-align: left; }
td.name code { font: 12px ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", monospace; }
td.name i { display: inline-block; width: 9px; height: 9px; margin-right: 8px;
  border-radius: 2px; }
"""


def style_sheet() -> str:
    """Return the CSS."""
    colours = "\n".join(
        f"svg .{part} {{ fill: var(--{part}); }} i.{part} {{ background: var(--{part}); }}"
        for part in _PARTS
    )
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}"
    return f":root {{ color-scheme: light dark; {_LIGHT} }}\n{dark}\n{_RULES}\n{colours}\n"
