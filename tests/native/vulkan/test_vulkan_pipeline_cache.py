"""Compiled pipelines on disk: written once, read again, and never trusted."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from vulkan_containers import ADD, INCREMENT, THREADS, Kernel, module

from ferrylm.runtime import vulkan_backend

pytestmark = pytest.mark.usefixtures("device")

HEADER_BYTES = 24


def use(*kernels: Kernel) -> None:
    """Make a module's pipelines, run one kernel, and let the module go."""
    loaded = module(*kernels)
    vulkan_backend.call("prepare", loaded, 0, None)
    tensor = tvm.runtime.tensor(np.ones(THREADS, np.float32), tvm.vulkan(0))
    loaded["increment"](tensor, THREADS, 1.0, 1, THREADS)
    np.testing.assert_array_equal(tensor.numpy(), np.full(THREADS, 2, np.float32))
    del loaded
    gc.collect()


def files() -> list[Path]:
    return sorted(Path(os.environ["FERRY_VULKAN_CACHE"]).glob("*"))


def test_a_module_has_one_file_that_is_not_written_twice() -> None:
    use(ADD, INCREMENT)
    (file,) = files()
    assert file.read_bytes().startswith(b"FERRYPC1")
    written = file.stat().st_mtime_ns, file.stat().st_ino
    use(ADD, INCREMENT)
    assert [(found.stat().st_mtime_ns, found.stat().st_ino) for found in files()] == [written]


def test_each_module_has_a_file_of_its_own() -> None:
    use(ADD, INCREMENT)
    use(INCREMENT)
    assert len(files()) == 2
    # The first half of the name is the device's and its driver's.
    assert len({file.name.split("-")[0] for file in files()}) == 1


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:10],
        lambda data: data[:HEADER_BYTES],
        lambda data: data[:-1],
        lambda data: data + b"x",
        flip,
        lambda data: b"FERRYPC2" + data[8:],
        lambda data: data[:8] + b"\xff" * 8 + data[16:],
        lambda data: os.urandom(len(data)),
    ],
)
def test_a_damaged_file_is_ignored_and_replaced(damage: Callable[[bytes], bytes]) -> None:
    use(ADD, INCREMENT)
    (file,) = files()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    use(ADD, INCREMENT)
    assert files() == [file]
    assert file.read_bytes()[:HEADER_BYTES] == whole[:HEADER_BYTES]


def test_a_folder_that_cannot_be_made_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FERRY_VULKAN_CACHE", str(tmp_path / "file" / "folder"))
    use(ADD, INCREMENT)
    assert (tmp_path / "file").read_text() == "in the way"


def test_the_cache_can_be_turned_off() -> None:
    vulkan_backend.call("set_option", "pipeline_cache", 0)
    try:
        use(ADD, INCREMENT)
    finally:
        vulkan_backend.call("set_option", "pipeline_cache", 1)
    assert files() == []


def test_an_option_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(vulkan_backend.VulkanError, match="no option speed; there are"):
        vulkan_backend.call("set_option", "speed", 11)


def test_the_report_names_the_folder() -> None:
    folder: Any = vulkan_backend.loader_report()["pipeline_cache_folder"]
    assert folder == os.environ["FERRY_VULKAN_CACHE"]
