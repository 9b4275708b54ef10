"""Compiling in a process that has run a model."""

from __future__ import annotations

import subprocess
import sys

_AFTER_A_MODEL = """
from ferrylm.errors import CompileError
from ferrylm.runtime.tvm_runtime import prefer_runtime_only
prefer_runtime_only()
import tvm
try:
    from ferrylm.compile import compile_model
except CompileError as error:
    print(error.found, error.fix, sep=chr(10))
"""

_BEFORE_A_MODEL = """
from ferrylm.compile import compile_model
from ferrylm.runtime.tvm_runtime import prefer_runtime_only
prefer_runtime_only()
import tvm
print(tvm.get_global_func("target.build.llvm", allow_missing=True) is not None)
"""


def output_of(program: str) -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_with_the_runtime_alone_is_told_what_to_do() -> None:
    found, fix = output_of(_AFTER_A_MODEL).splitlines()
    assert "TVM's runtime without its compiler" in found
    assert "another process" in fix


def test_a_model_that_runs_later_leaves_the_compiler_as_it_is() -> None:
    assert output_of(_BEFORE_A_MODEL) == "True\n"
