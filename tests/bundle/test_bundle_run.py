"""A whole bundle: made here, installed and run where nothing but Python and a driver is.

It holds the packages of the running Python, so that no network is needed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ferrylm.bundle import Bundle, BundleOptions, make_bundle
from ferrylm.runtime.backends import probe_kind
from tests.bundle.sandbox import SYSTEM_PATH, run_in_sandbox
from tests.engine.built_artifacts import Build

TARGET = "vulkan-subgroup8-dot"
_KEPT = ("VK_ICD_FILENAMES", "VK_DRIVER_FILES", "LP_NUM_THREADS")


@pytest.fixture(scope="module")
def bundle(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    output = tmp_path_factory.mktemp("bundle") / "tiny.tar.gz"
    options = BundleOptions(build("vulkan nibbles"), output, pythons=("here",), name="tiny")
    return make_bundle(options)


@pytest.fixture(scope="module")
def home(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home folder of a user who has unpacked the bundle."""
    folder = tmp_path_factory.mktemp("home")
    subprocess.run(["tar", "-xzf", bundle.path, "-C", folder], check=True)
    return folder


def variables(home: Path) -> dict[str, str]:
    """Return the environment of that user: a driver and a Python that he may start."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "XDG_RUNTIME_DIR": "/tmp", "XDG_CACHE_HOME": str(home / ".cache"),
            "FERRY_PYTHON": python_for_others()}  # fmt: skip


def python_for_others() -> str:
    """Return a Python of the running version in the system's folders; skip without one."""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for folder in SYSTEM_PATH.split(":"):
        if os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    pytest.skip(f"no {name} in {SYSTEM_PATH}")


def in_home(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the sandbox, where only `home` can be written."""
    return run_in_sandbox(home, command, variables(home))


def test_the_sandbox_has_no_packages_and_nothing_to_write_to_but_home(home: Path) -> None:
    program = "id -u; for f in / /tmp /usr /var/tmp .; do test -w $f && echo $f; done"
    assert in_home(home, "sh", "-c", program).stdout.split()[1:] == ["."]
    program = "import importlib.util as u; print(u.find_spec('tvm'), u.find_spec('ferrylm'))"
    found = in_home(home, python_for_others(), "-c", program)
    assert found.stdout.split() == ["None", "None"]


def test_it_is_installed_and_verified_on_the_cpu_and_on_vulkan(home: Path) -> None:
    installed = in_home(home, "ferry-tiny/install.sh")
    assert (installed.returncode, installed.stderr) == (0, "")
    command = str(home / ".local/bin/ferry-tiny")
    devices = [("cpu",)]
    if probe_kind("vulkan").devices:
        devices.append(("vulkan", "--target", TARGET))
    for device in devices:
        # The answer first: the driver then has the kernels compiled that `verify` compares.
        answer = in_home(
            home, command, "run", "--raw", "-p", "Hi", "-n", "4", "--json", "--device", *device
        )
        assert answer.returncode == 0, answer.stderr
        done = in_home(home, command, "verify", "--json", "--device", *device)
        assert done.returncode == 0, done.stdout + done.stderr
        names = [check["name"] for check in json.loads(done.stdout)["checks"]]
        assert sum(name.startswith("kernel ") for name in names) > 10


def test_its_doctor_asks_for_no_compiler_and_names_the_library_that_runs(home: Path) -> None:
    done = in_home(home, "ferry-tiny/ferry", "doctor", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {line["name"]: line["status"] for line in json.loads(done.stdout)["checks"]}
    assert not {"compiler", "linker", "disk here", "cuda", "rocm"} & set(found)
    assert [name for name in found if name.startswith("runs ")] != []
    assert found["bundle"] == "ok"


def test_what_runs_comes_from_the_bundle_alone(home: Path) -> None:
    program = """
import runpy, sys
sys.argv = ["start.py", "verify", "--quiet", "--device", "cpu"]
try:
    runpy.run_path("ferry-tiny/scripts/start.py", run_name="__main__")
finally:
    libraries = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
    modules = {getattr(m, "__file__", None) or "" for m in sys.modules.values()}
    print(*sorted(p for p in modules | libraries if "packages" in p), sep="\\n")
"""
    done = in_home(home, python_for_others(), "-I", "-S", "-c", program)
    paths = [line for line in done.stdout.splitlines() if line.startswith("/")]
    common = f"{home}/ferry-tiny/packages/common/"
    assert [path for path in paths if not path.startswith(common)] == []
    for part in ("tvm/lib/libtvm_runtime.so", "tvm_ffi/lib/libtvm_ffi.so", "numpy/__init__.py"):
        assert common + part in paths


def test_the_verbs_of_the_compiler_are_refused_with_a_place_to_run_them(home: Path) -> None:
    done = in_home(home, "ferry-tiny/ferry", "compile", "x", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "BundleError"


def test_the_same_artifact_and_packages_give_the_same_bytes(
    bundle: Bundle, build: Build, tmp_path: Path
) -> None:
    output = tmp_path / "again.tar.gz"
    options = BundleOptions(build("vulkan nibbles"), output, pythons=("here",), name="tiny")
    assert make_bundle(options).size_bytes == bundle.size_bytes
    assert output.read_bytes() == bundle.path.read_bytes()
