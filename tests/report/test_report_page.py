from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from kernel_measurements import KERNELS, decode_step, measurement

from ferrylm.report.measurement import Kernel
from ferrylm.report.page import report_page
from ferrylm.report.style import _DARK, _LIGHT

EVIL = '</title></svg><script>alert("1")</script>&\u202e<img src=x onerror=1>'


class Reader(HTMLParser):
    """Collects tags and attributes, and complains about tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def drawings(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.S)]


def test_a_page_has_all_pictures_and_a_row_for_every_kernel() -> None:
    page = report_page(measurement())
    titles = [drawing[0].text for drawing in drawings(page)]
    assert titles == [
        "decode, batch 1, depth 128: all launches",
        "decode, batch 1, depth 128: one layer",
        "prefill, 64 tokens, depth 0: all launches",
        "prefill, 64 tokens, depth 0: one layer",
        "Roofline",
        "Memory",
    ]
    assert page.count("<tr>") == 2 * (1 + len(KERNELS))
    for kernel in KERNELS:
        assert f"<code>{kernel.name}</code>" in page


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    reader = read(report_page(measurement()))
    assert not {"script", "link", "img", "iframe", "object", "use", "image"} & set(reader.tags)
    assert not {"src", "href", "xlink:href", "style"} & {name for name, _ in reader.attributes}
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert "url(" not in report_page(measurement())
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in reader.attributes


def test_names_of_strangers_are_text_and_nothing_else() -> None:
    evil = (*KERNELS[:-1], Kernel(EVIL, "head", EVIL, 20_000, 64_000))
    step = decode_step(name=EVIL, kernels=evil)
    page = report_page(
        measurement(model=EVIL, device=EVIL, target=EVIL, steps=(step,), memory_bytes={EVIL: 5})
    )
    assert {"script", "img"} & set(read(page).tags) == set()
    assert len(drawings(page)) == 4


def test_every_drawing_says_what_it_shows() -> None:
    for drawing in drawings(report_page(measurement())):
        names = drawing.attrib["aria-labelledby"].split()
        found = {element.attrib.get("id"): element.text for element in drawing.iter()}
        assert drawing.attrib["role"] == "img"
        assert all(found[name] for name in names)


def test_identifiers_are_unique() -> None:
    identifiers = [value for name, value in read(report_page(measurement())).attributes
                   if name == "id"]  # fmt: skip
    assert len(identifiers) == len(set(identifiers)) > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"bandwidth_gb_s": None},
        {"device_bytes": None},
        {"memory_bytes": {}},
        {"memory_bytes": {f"weights: {i}": i for i in range(30)}},
        {"memory_bytes": {f"part {i}": i for i in range(30)}},
        {"steps": (decode_step(step_us=1.0),)},
        {"steps": (decode_step(launch_us=(0.0,) * 8),)},
        {"steps": (decode_step(kernels=KERNELS[:1], launch_kernels=(0,), launch_us=(1e9,)),)},
        {"steps": (decode_step(),) * 30},
        {"bandwidth_gb_s": 1e12},
        {"bandwidth_gb_s": 1e-9},
    ],
)
def test_unusual_figures_still_give_a_page(changes: dict[str, object]) -> None:
    page = report_page(measurement(**changes))
    read(page)
    for drawing in drawings(page):
        _, _, width, height = map(float, drawing.attrib["viewBox"].split())
        for bar in drawing.iter("rect"):
            assert float(bar.attrib["width"]) >= 0
            assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width + 1
            assert float(bar.attrib["y"]) <= height
    assert "nan" not in page.replace("nanosecond", "").lower().split("<body>")[1]


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [_LIGHT, _DARK])
def test_colours_stand_out_from_the_page(theme: str) -> None:
    colours = dict(re.findall(r"--(\w+): (#\w{6})", theme))
    page = luminance(colours["page"])
    for name, colour in colours.items():
        if name in ("page", "line", "band"):
            continue
        bright, dark = sorted((luminance(colour), page), reverse=True)
        least = 4.5 if name in ("ink", "faint") else 3.0
        assert (bright + 0.05) / (dark + 0.05) >= least, name
