"""The runtime stays thin: what it imports is what a machine without a compiler has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src"
RUNTIME_MODULES = sorted(
    f"ferrylm.runtime.{path.stem}"
    for path in (SOURCES / "ferrylm" / "runtime").glob("*.py")
    if path.stem != "__init__"
)
FORBIDDEN = (
    "ferrylm.bundle", "ferrylm.compile", "ferrylm.relax_models", "ferrylm.schedules", "ferrylm.cli",
    "torch", "transformers", "safetensors", "huggingface_hub", "click", "rich",
)  # fmt: skip


def modules_after(statement: str) -> set[str]:
    """Return the names in sys.modules of a fresh interpreter after a statement."""
    program = f"import sys; sys.path.insert(0, {str(SOURCES)!r}); {statement}; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={"TVM_USE_RUNTIME_LIB": "1"},
    )  # fmt: skip
    return set(run.stdout.split())


def test_no_runtime_module_imports_a_compiler_part_or_a_framework() -> None:
    loaded = modules_after("import " + ", ".join(RUNTIME_MODULES))
    assert "ferrylm.runtime.model" in loaded
    assert {
        name for name in loaded if any(name == f or name.startswith(f + ".") for f in FORBIDDEN)
    } == set()


@pytest.mark.parametrize("statement", ["import ferrylm", "import ferrylm; ferrylm.__version__"])
def test_importing_the_package_imports_nothing_of_weight(statement: str) -> None:
    loaded = modules_after(statement)
    assert not loaded & {"numpy", "tvm", "tvm_ffi", "tokenizers", "jinja2", "subprocess"}
    assert {name for name in loaded if name.startswith("ferrylm")} == {"ferrylm"}


def test_the_text_side_needs_no_tvm_and_no_jinja_in_this_process() -> None:
    """Jinja runs in the template's own process only."""
    assert not modules_after("import ferrylm.runtime.model") & {"tvm", "tvm_ffi", "jinja2"}
