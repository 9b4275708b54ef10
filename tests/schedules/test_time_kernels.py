from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.schedules.kernel_runner import HOST_PROFILES, missing_features

SCRIPT = Path(__file__).parents[2] / "scripts" / "time_kernels.py"


@pytest.mark.parametrize("only", ["norm-quantize-576", "residual-576x576"])
def test_the_script_reports_a_time_for_each_case_that_was_asked_for(only: str) -> None:
    if missing_features(HOST_PROFILES[0]):
        pytest.skip("this machine runs no x86 profile")
    command = [sys.executable, str(SCRIPT), "--only", only, "--json", "--batch", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    (found,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert only in found["case"]
    assert found["rows"] == 2
    assert found["microseconds"] > 0
