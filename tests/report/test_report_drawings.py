from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_measurements import KERNELS, ORDER, decode_step, measurement

from ferrylm.report.labels import Box, Mark, place_labels
from ferrylm.report.measurement import Kernel
from ferrylm.report.numbers import duration, size, three_digits
from ferrylm.report.roofline import roofline
from ferrylm.report.waterfall import layer_launches, strip, ticks

AREA = Box(0, 0, 900, 500)


def test_the_layer_in_the_middle_is_found_between_what_comes_once() -> None:
    order = (9, *(1, 2, 1, 3, 4) * 30, 8, 7)
    first, count = layer_launches(order)
    assert (first - 1) % 5 == 0
    assert count == 5
    assert order[first : first + 5] == (1, 2, 1, 3, 4)
    assert layer_launches(ORDER) == (4, 3)


def test_a_step_without_layers_is_shown_whole() -> None:
    assert layer_launches((1, 2, 3, 4, 5)) == (0, 5)
    assert layer_launches((1,)) == (0, 1)


@given(st.floats(0.001, 1e9))
def test_ticks_are_few_and_within_the_whole(whole: float) -> None:
    found = ticks(whole)
    assert found[0] == 0
    assert 5 <= len(found) <= 11
    assert found[-1] <= whole * 1.0001


def bars(markup: str) -> list[tuple[float, float, str]]:
    found = re.findall(r'<rect x="([\d.]+)" [^>]*?width="([\d.]+)"[^>]*class="bar (\w+)"', markup)
    return [(float(x), float(width), kind) for x, width, kind in found]


def test_bars_are_as_wide_as_launches_are_long_and_follow_each_other() -> None:
    step = decode_step()
    found = bars(strip(step, "strip0"))
    assert [kind for _, _, kind in found] == [*(KERNELS[i].kind for i in ORDER), "rest"]
    whole = sum(width for _, width, _ in found)
    times = [*step.launch_us, step.rest_us]
    for (x, width, _), us, (after, _, _) in zip(found, times, found[1:], strict=False):
        assert width / whole == pytest.approx(us / step.step_us, abs=1e-4)
        assert after == pytest.approx(x + width, abs=0.02)


def test_a_step_that_takes_less_than_its_kernels_has_no_rest() -> None:
    assert "rest" not in [kind for _, _, kind in bars(strip(decode_step(step_us=10.0), "s"))]


def test_a_kernel_at_the_bandwidth_lies_on_the_line() -> None:
    # 2000 bytes in 1 µs are 2 GB/s, which is the bandwidth.
    kernel = Kernel("plain_q4_f32_1x1_batch1", "product", "f32", 2_000, 10_000)
    step = decode_step(kernels=(kernel,), launch_kernels=(0,), launch_us=(1.0,))
    markup = roofline(measurement(steps=(step,)))
    (x, y), = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', markup)  # fmt: skip
    (line,) = re.findall(
        r'<line x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)" class="roof">', markup
    )
    x1, y1, x2, y2 = map(float, line)
    assert float(y) == pytest.approx(y1 + (y2 - y1) * (float(x) - x1) / (x2 - x1), abs=0.1)


def test_no_roofline_where_nothing_is_computed() -> None:
    step = decode_step(kernels=KERNELS[:1], launch_kernels=(0,), launch_us=(1.0,))
    assert roofline(measurement(steps=(step,))) == ""


@given(
    st.lists(
        st.tuples(st.floats(100, 800), st.floats(100, 400), st.floats(3, 12)),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_labels_cover_no_other_label_and_stay_in_the_area(
    places: list[tuple[float, float, float]],
) -> None:
    marks = [Mark(x, y, r, f"A{i}") for i, (x, y, r) in enumerate(places)]
    found = place_labels(marks, AREA, [])
    boxes = [Box(p.x - 7, p.y - 6, p.x + 7, p.y + 6) for p in found]
    assert all(AREA.holds(box) for box in boxes)
    crowded = sum(a.meets(b) for a, b in combinations(boxes, 2))
    assert crowded == 0 or len(marks) > 8


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (three_digits(0), "0"),
        (three_digits(0.08912), "0.0891"),
        (three_digits(1.2345), "1.23"),
        (three_digits(12.345), "12.3"),
        (three_digits(1234.5), "1234"),
        (duration(8.2), "8.20 µs"),
        (duration(1330), "1.33 ms"),
        (duration(2.5e6), "2.50 s"),
        (size(999), "999 B"),
        (size(30_282_240), "30.3 MB"),
    ],
)
def test_numbers_have_three_digits_and_a_unit(text: str, shown: str) -> None:
    assert text == shown
