from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_measurements import decode_step, measurement

from ferrylm.errors import ArtifactError
from ferrylm.report.measurement import measured_step, read_measurement, to_json
from ferrylm.report.page import report_page
from ferrylm.runtime.kernel_times import Launch, StepTimes
from ferrylm.runtime.kernel_traffic import StepShape, Traffic

TEXT = json.dumps(to_json(measurement())).encode()


def test_what_is_written_is_read_again() -> None:
    assert read_measurement(TEXT, what="times.json") == measurement()


def test_launches_of_one_kernel_are_one_row_in_the_order_of_their_time() -> None:
    totals = decode_step().totals
    assert [total.kernel.kind for total in totals] == ["head", "product", "product", "attention",
                                                       "lookup"]  # fmt: skip
    assert [(total.launches, total.median_us, total.total_us) for total in totals[:2]] == [
        (1, 20.0, 20.0),
        (2, 8.25, 16.5),
    ]
    assert totals[0].gb_s == pytest.approx(20_000 / 20e-6 / 1e9)
    assert totals[0].gop_s == pytest.approx(64_000 / 20e-6 / 1e9)
    assert totals[0].intensity == pytest.approx(3.2)
    assert decode_step().rest_us == pytest.approx(20.5)


def test_kernels_that_differ_in_what_they_move_stay_apart() -> None:
    small, large = (Traffic(size, 0, "", "norm") for size in (10, 20))
    launches = [Launch("norm", traffic, 0.5) for traffic in (small, large, small)]
    step = measured_step(StepTimes("decode", StepShape(1, 1, 3), tuple(launches), 2.0, 4))
    assert step.launch_kernels == (0, 1, 0)
    assert [kernel.bytes_moved for kernel in step.kernels] == [10, 20]
    assert step.launch_us == (500.0, 500.0, 500.0)
    assert step.step_us == 2000.0


def changed(path: list[Any], value: Any) -> bytes:
    document = json.loads(TEXT)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["format"], "other"),
        (["version"], 2),
        (["steps"], []),
        (["bandwidth_gb_s"], 0.0),
        (["memory_bytes"], {"weights": -1}),
        (["steps", 0, "launch_us"], [1.0]),
        (["steps", 0, "launch_us", 0], -1.0),
        (["steps", 0, "launch_kernels", 0], 99),
        (["steps", 0, "step_us"], 0.0),
        (["steps", 0, "rows"], 0),
        (["steps", 0, "kernels", 0, "kind"], "evil"),
        (["steps", 0, "kernels", 0, "bytes_moved"], -5),
        (["threads"], "two"),
        (["more"], 1),
    ],
)
def test_a_document_that_contradicts_itself_is_refused(path: list[Any], value: Any) -> None:
    with pytest.raises(ArtifactError, match=r"times\.json"):
        read_measurement(changed(path, value), what="times.json")


@given(st.integers(0, len(TEXT) - 1), st.integers(0, 255))
def test_a_damaged_byte_is_refused_or_gives_a_page(position: int, byte: int) -> None:
    data = bytearray(TEXT)
    data[position] = byte
    try:
        found = read_measurement(bytes(data), what="times.json")
    except ArtifactError:
        return
    assert report_page(found).endswith("</html>\n")


@pytest.mark.parametrize("length", [0, 1, 100, len(TEXT) - 1])
def test_a_cut_document_is_refused(length: int) -> None:
    with pytest.raises(ArtifactError):
        read_measurement(TEXT[:length], what="times.json")
