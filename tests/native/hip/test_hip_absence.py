"""Machines without ROCm, with an old one, or without an AMD GPU."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hip_builds import run_scenario, stand_in_library

_REFUSED = """
try:
    with hip_backend.typed_errors():
        tvm.runtime.empty((1,), "float32", tvm.device("rocm", 0))
    raise SystemExit("no error")
except hip_backend.HipUnavailableError as error:
    print(error)
    assert {words!r} in str(error), error
assert not tvm.device("rocm", 0).exist
report = hip_backend.loader_report()
assert {words!r} in report["problem"] and report["devices"] == []
"""


def test_without_rocm_devices_do_not_exist_and_using_one_is_a_typed_error() -> None:
    run_scenario(
        _REFUSED.format(words="libamdhip64 was not found"), driver="/nowhere/libamdhip64.so.6"
    )


def test_without_a_gpu_the_error_says_what_to_check() -> None:
    run_scenario(_REFUSED.format(words="no AMD GPU"), chips="")


def test_an_older_rocm_is_named_as_such(tmp_path: Path) -> None:
    source = tmp_path / "old.c"
    source.write_text("int hipGetDeviceCount(int* n) { *n = 1; return 0; }\n"
                      "int hipSetDevice(int i) { return i; }\n")  # fmt: skip
    old = tmp_path / "libamdhip64.so.5"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(old), str(source)], check=True)
    run_scenario(_REFUSED.format(words="hipGetDevicePropertiesR0600"), driver=str(old))


def test_loading_the_backend_opens_no_driver_and_prints_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    run_scenario(
        """
hip_backend.autoload()
assert "libamdhip64" not in Path("/proc/self/maps").read_text()
assert tvm.runtime.empty((4,), "float32", tvm.cpu()).numpy().shape == (4,)
""",
        driver="/nowhere/libamdhip64",
    )
    assert capfd.readouterr() == ("", "")


def test_the_driver_of_a_pip_package_is_found_when_the_system_has_none(tmp_path: Path) -> None:
    package = tmp_path / "_rocm_sdk_core" / "lib"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "libamdhip64.so.7").symlink_to(stand_in_library())
    run_scenario(
        """
report = hip_backend.loader_report()
assert report["library"].endswith("_rocm_sdk_core/lib/libamdhip64.so.7"), report
assert [attempt["outcome"] == "loaded" for attempt in report["attempts"]][-1]
assert tvm.device("rocm", 0).exist
""",
        driver="",
        PYTHONPATH=str(tmp_path),
    )
