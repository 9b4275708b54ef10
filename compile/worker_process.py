"""Running a module of this package in another process, whatever lies in the current folder.

`python -m` looks for modules in the current folder first: a user's `cuda.py` there would be taken
for the package of that name.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile


def run_module(
    name: str, data: bytes, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a module with this input, and with the modules that this process sees."""
    places = [os.path.abspath(place) for place in sys.path if place]
    environment = {**os.environ, **(variables or {}), "PYTHONPATH": os.pathsep.join(places)}
    with tempfile.TemporaryDirectory(prefix="ferrylm-worker-") as folder:
        return subprocess.run(
            [sys.executable, "-m", name],
            input=data,
            capture_output=True,
            env=environment,
            cwd=folder,
            check=False,
        )
