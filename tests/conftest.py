"""Makes helpers importable, and tests alike whether pytest or scripts/test.sh starts them.

pytest's importlib mode leaves sys.path alone, so the helpers of tests/support are put there.
"""

import os
import sys
import tempfile
from pathlib import Path

# Whoever runs a model has TVM's runtime loaded without its compiler, if nobody was there before;
# tests that compile would then fail or pass by the order of their files.
import tvm  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent / "support"))

# Kernels are tested on Mesa's software device, whose subgroups have 8 lanes, unless a driver is
# named: a desktop's GPU would hang the desktop with what the tests do to it.
_FOLDERS = [Path(root) / "vulkan/icd.d" for root in ("/usr/share", "/usr/local/share", "/etc")]
_DRIVERS = [path for folder in _FOLDERS for path in sorted(folder.glob("lvp_icd*.json"))]
if _DRIVERS and not {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"} & set(os.environ):
    os.environ["VK_ICD_FILENAMES"] = str(_DRIVERS[0])
# Mesa complains on stderr where a machine without a login session has none.
os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
