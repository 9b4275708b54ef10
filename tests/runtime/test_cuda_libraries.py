from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gpu_devices as gpus
import pytest
from stand_in_driver import RUNTIME, build_stand_ins

from ferrylm.errors import DeviceError
from ferrylm.runtime import cuda_libraries
from ferrylm.runtime.cuda_libraries import cuda_runtime_places, load_cuda_runtime, usable
from ferrylm.runtime.devices import GpuProbe


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a libcudart that can be told from NVIDIA's."""
    return build_stand_ins(tmp_path_factory.mktemp("cudart")) / RUNTIME


def loaded(environment: dict[str, str], before: str = "", *, packages: bool = False) -> str:
    """Return which libcudart a fresh interpreter loads; without `packages` pip has none."""
    hidden = "" if packages else "libraries._package_folders = lambda name: []\n"
    program = (
        "import sys\n"
        f"{before}\n"
        "from ferrylm.runtime import cuda_libraries as libraries\n"
        f"{hidden}"
        "libraries.load_cuda_runtime()\n"
        "maps = open('/proc/self/maps').read().split()\n"
        "print(next(word for word in maps if 'libcudart' in word))\n"
    )
    kept = {name: value for name, value in os.environ.items() if name not in _PLACES}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


_PLACES = ("CONDA_PREFIX", "CUDA_HOME", "CUDA_PATH", "LD_LIBRARY_PATH")


@pytest.mark.parametrize(
    ("variable", "folder"), [("CONDA_PREFIX", "lib"), ("CUDA_HOME", "lib64"), ("CUDA_PATH", "lib")]
)
def test_the_runtime_library_is_found_where_a_variable_points(
    stand_in: Path, tmp_path: Path, variable: str, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    place = tmp_path / folder / RUNTIME
    place.write_bytes(stand_in.read_bytes())
    assert loaded({variable: str(tmp_path)}) == str(place)


def test_the_runtime_library_is_found_by_the_loader(stand_in: Path) -> None:
    assert loaded({"LD_LIBRARY_PATH": str(stand_in.parent)}) == str(stand_in)


def test_a_package_comes_before_what_the_loader_finds(stand_in: Path, tmp_path: Path) -> None:
    place = tmp_path / "nvidia" / "cu13" / "lib" / RUNTIME
    place.parent.mkdir(parents=True)
    place.write_bytes(stand_in.read_bytes())
    before = f"sys.path.insert(0, {str(tmp_path)!r})"
    environment = {"LD_LIBRARY_PATH": str(stand_in.parent)}
    assert loaded(environment, before, packages=True) == str(place)


def test_the_copy_inside_torch_serves_and_torch_is_not_imported(
    stand_in: Path, tmp_path: Path
) -> None:
    place = tmp_path / "torch" / "lib" / RUNTIME
    place.parent.mkdir(parents=True)
    place.write_bytes(stand_in.read_bytes())
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('torch was imported')")
    places = (
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name: None if name == 'nvidia' else find(name)"
    )
    assert loaded({}, places, packages=True) == str(place)


def test_one_that_is_loaded_already_is_taken(stand_in: Path) -> None:
    before = f"import ctypes; ctypes.CDLL({str(stand_in)!r})"
    assert loaded({}, before, packages=True) == str(stand_in)


def test_a_broken_file_is_passed_over(stand_in: Path, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / RUNTIME).write_bytes(b"no library")
    environment = {"CONDA_PREFIX": str(tmp_path), "LD_LIBRARY_PATH": str(stand_in.parent)}
    assert loaded(environment) == str(stand_in)


def test_without_one_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_libraries, "RUNTIME", "libcudart.so.0")
    monkeypatch.setattr(cuda_libraries, "_package_folders", lambda _name: [])
    with pytest.raises(DeviceError, match="pip install nvidia-cuda-runtime"):
        load_cuda_runtime()


def test_the_broken_one_is_named_where_there_is_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libcudart.so.0").write_bytes(b"no library")
    monkeypatch.setattr(cuda_libraries, "RUNTIME", "libcudart.so.0")
    monkeypatch.setattr(cuda_libraries, "_package_folders", lambda _name: [])
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path))
    with pytest.raises(DeviceError, match=r"invalid ELF header|file too short"):
        load_cuda_runtime()


def test_what_the_user_chose_comes_before_what_is_installed() -> None:
    places = list(cuda_runtime_places())
    assert places.index(RUNTIME) < places.index(f"/usr/local/cuda/lib64/{RUNTIME}")


def test_gpus_without_the_runtime_library_are_none_with_the_remedy_as_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise DeviceError("no libcudart.so.13", wanted="it", fix="pip install it")

    monkeypatch.setattr(cuda_libraries, "load_cuda_runtime", refuse)
    found = usable(GpuProbe((gpus.cuda("H100", "sm_90"),)))
    assert found == GpuProbe((), "no libcudart.so.13; pip install it")
    nothing = GpuProbe((), "no driver")
    assert usable(nothing) is nothing
    monkeypatch.setattr(cuda_libraries, "load_cuda_runtime", lambda: None)
    assert len(usable(GpuProbe((gpus.cuda("H100", "sm_90"),))).devices) == 1
