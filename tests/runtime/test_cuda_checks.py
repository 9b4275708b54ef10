from __future__ import annotations

from pathlib import Path

import pytest
from stand_in_driver import DRIVER, build_stand_ins

from ferrylm.errors import DeviceError, FerryError, MemoryLimitError, NoLibraryError
from ferrylm.runtime import cuda_backend, cuda_driver
from ferrylm.runtime.cuda_backend import CudaBackend
from ferrylm.runtime.cuda_checks import check_cuda, code_for
from ferrylm.runtime.cuda_driver import probe_driver
from ferrylm.runtime.manifest import CudaNeeds

NEEDS = CudaNeeds(("sm_75", "sm_80", "sm_86", "sm_89", "sm_90a", "sm_100", "sm_120"),
                  ("compute_75",), "13.0")  # fmt: skip
SASS_ONLY = CudaNeeds(("sm_80", "sm_90a"), (), "13.0")
GIB = 1 << 30
H100 = f"device=9.0,{80 * GIB},NVIDIA H100 80GB HBM3"


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of a libcuda that claims what STAND_IN_CUDA says."""
    return str(build_stand_ins(tmp_path_factory.mktemp("stand_in")) / DRIVER)


@pytest.fixture
def claimed(driver: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Return the driver with the claims of the test's parameter."""
    monkeypatch.setenv("STAND_IN_CUDA", request.param)
    monkeypatch.setattr(cuda_driver, "VERSION_FILE", Path("/nonexistent"))
    return driver


REFUSALS = [
    # claims, needs, index, memory, error, found, what to do
    ("init=100", NEEDS, 0, 0, DeviceError, "finds no NVIDIA GPU", "CUDA_VISIBLE_DEVICES"),
    ("", NEEDS, 0, 0, DeviceError, "finds no NVIDIA GPU", "container"),
    ("init=34", NEEDS, 0, 0, DeviceError, "stub of the CUDA toolkit", "LD_LIBRARY_PATH"),
    ("init=46", NEEDS, 0, 0, DeviceError, "busy or unavailable", "nvidia-smi"),
    ("init=802", NEEDS, 0, 0, DeviceError, "not ready", "fabricmanager"),
    ("init=803", NEEDS, 0, 0, DeviceError, "different versions", "restart"),
    ("init=804", NEEDS, 0, 0, DeviceError, "forward compatibility", "cuda-compat"),
    ("init=999", NEEDS, 0, 0, DeviceError, "error 999", "nvidia-smi"),
    ("version=12090;" + H100, NEEDS, 0, 0, DeviceError, "is for CUDA 12.9", "driver 580"),
    ("version=12040;" + H100, NEEDS, 0, 0, DeviceError, "is for CUDA 12.4", "driver 580"),
    ("version=11080;" + H100, NEEDS, 0, 0, DeviceError, "is for CUDA 11.8", "driver 580"),
    ("version=12040;init=100", NEEDS, 0, 0, DeviceError, "is for CUDA 12.4", "driver 580"),
    (H100, NEEDS, 1, 0, DeviceError, "no CUDA device 1", "choose"),
    (H100, NEEDS, -1, 0, DeviceError, "no CUDA device -1", "choose"),
    (H100 + ",prohibited", NEEDS, 0, 0, DeviceError, "compute mode Prohibited", "nvidia-smi"),
    (f"device=7.0,{GIB},Tesla V100", NEEDS, 0, 0, NoLibraryError, "sm_70", "Vulkan"),
    (f"device=6.1,{GIB},GTX 1080", NEEDS, 0, 0, NoLibraryError, "sm_61", "Vulkan"),
    (f"device=7.5,{GIB},T4", SASS_ONLY, 0, 0, NoLibraryError, "sm_75", "--cuda-arch 75"),
    (f"device=12.0,{GIB},RTX 5090", SASS_ONLY, 0, 0, NoLibraryError, "sm_120", "--cuda-arch 120"),
    (f"device=10.0,{GIB},B200", SASS_ONLY, 0, 0, NoLibraryError, "sm_100", "--cuda-arch 100"),
    (f"device=8.6,{GIB},RTX 3090", CudaNeeds(("sm_89",), (), "13.0"), 0, 0, NoLibraryError,
     "sm_86", "--cuda-arch 86"),
    (f"device=8.0,{GIB},A100", CudaNeeds((), ("compute_90",), "13.0"), 0, 0, NoLibraryError,
     "sm_80", "--cuda-arch 80"),
    (f"device=9.0,{GIB},H100", CudaNeeds((), ("compute_90a",), "13.0"), 0, 0, NoLibraryError,
     "sm_90", "--cuda-arch 90"),
    (f"device=8.6,{4 * GIB},RTX 3050", NEEDS, 0, 5 * GIB, MemoryLimitError, "4.0 GiB",
     "smaller"),
    (f"{H100};device=7.0,{GIB},V100", NEEDS, 1, 0, NoLibraryError, "V100", "Vulkan"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("claimed", "needs", "index", "memory", "error", "found", "fix"),
    REFUSALS,
    indirect=["claimed"],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_a_machine_that_cannot_run_a_library_is_refused_with_found_wanted_and_fix(
    claimed: str, needs: CudaNeeds, index: int, memory: int, error: type[FerryError],
    found: str, fix: str,
) -> None:  # fmt: skip
    with pytest.raises(error) as caught:
        check_cuda(needs, probe_driver([claimed]), index=index, memory_bytes=memory)
    assert found in caught.value.found
    assert fix in caught.value.fix
    assert caught.value.wanted


def test_a_machine_without_a_driver_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"no libcuda\.so\.1.*580 or newer"):
        check_cuda(NEEDS, probe_driver(["/nonexistent/libcuda.so.1"]))


def test_a_file_that_is_no_driver_is_refused(tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_bytes(b"not a library")
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        check_cuda(NEEDS, probe_driver([str(tmp_path / "libcuda.so.1")]))


def test_a_library_that_is_no_driver_is_refused() -> None:
    with pytest.raises(DeviceError, match="that is none"):
        check_cuda(NEEDS, probe_driver(["libc.so.6"]))


@pytest.mark.parametrize(
    ("chip", "code"),
    [
        ("7.5", "sm_75"), ("8.0", "sm_80"), ("8.6", "sm_86"), ("8.7", "sm_86"), ("8.9", "sm_89"),
        ("9.0", "sm_90a"), ("10.0", "sm_100"), ("10.3", "sm_100"), ("11.0", "compute_75"),
        ("12.0", "sm_120"), ("12.1", "sm_120"), ("13.0", "compute_75"),
    ],
)  # fmt: skip
def test_a_chip_runs_the_nearest_code(
    driver: str, chip: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_CUDA", f"device={chip},{GIB},a chip")
    device, chosen = check_cuda(NEEDS, probe_driver([driver]))
    assert chosen == code
    assert device.architecture == "sm_" + chip.replace(".", "")


def test_code_for_one_chip_alone_is_for_no_later_one() -> None:
    assert code_for(CudaNeeds(("sm_90a",), (), "13.0"), "sm_100") is None
    assert code_for(CudaNeeds(("sm_90a",), (), "13.0"), "sm_90") == "sm_90a"


def test_a_newer_driver_is_as_good(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_CUDA", "version=14020;" + H100)
    assert check_cuda(NEEDS, probe_driver([driver]))[1] == "sm_90a"


def test_a_prohibited_gpu_is_refused_before_anything_is_loaded(
    driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_CUDA", H100 + ",prohibited")
    monkeypatch.setattr(cuda_backend, "load_tvm_cuda", lambda: pytest.fail("it was loaded"))
    with pytest.raises(DeviceError, match="nvidia-smi -i 0 -c DEFAULT"):
        CudaBackend(probe_driver([driver]).devices[0])


def test_the_driver_tells_all_of_its_gpus(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_CUDA", f"{H100};device=8.7,{32 * GIB},Orin,integrated")
    monkeypatch.setattr(cuda_driver, "VERSION_FILE", Path("/nonexistent"))
    first, second = probe_driver([driver]).devices
    assert (first.name, first.index, first.device_class) == ("NVIDIA H100 80GB HBM3", 0, "discrete")
    assert (second.name, second.index, second.device_class) == ("Orin", 1, "integrated")
    assert second.total_bytes == 32 * GIB
    assert first.uuid != second.uuid
    assert (first.driver, first.api_version) == ("CUDA 13.0", "13.0")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27", "580.65.06"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.57.08  Release",
            "575.57.08",
        ),
        ("nothing of the kind", "CUDA 13.0"),
    ],
)
def test_the_driver_is_named_by_its_kernel_module(
    driver: str, tmp_path: Path, text: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "version").write_text(text)
    monkeypatch.setattr(cuda_driver, "VERSION_FILE", tmp_path / "version")
    monkeypatch.setenv("STAND_IN_CUDA", H100)
    assert probe_driver([driver]).devices[0].driver == version
