from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.built_artifacts import host_profiles

WHOLE, PUBLISHING = 6, 44


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_kills_of_a_compile_leave_the_old_or_the_new_artifact(tmp_path: Path) -> None:
    """The script stops at the first artifact that is neither, or that lacks a byte."""
    profile = (host_profiles() or ["x86-64-v3"])[0]
    script = Path(__file__).with_name("kill_compiles.py")
    command = [sys.executable, str(script), str(tmp_path), profile, str(WHOLE), str(PUBLISHING)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["all"]["old"] + report["all"]["new"] == WHOLE + PUBLISHING
    assert report["publishing"]["old"] > 0
    assert report["publishing"]["new"] > 0, "some compiles must get to their end"
    assert report["final"] == [True, True, []], "the next compile is as ever and cleans up"
