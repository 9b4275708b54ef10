"""A model's name from where it lies: what the artifact and its folder are called."""

from __future__ import annotations

import os
import re
from pathlib import Path

_QUANTIZATION = re.compile(
    r"[.\-_](?:I?Q[0-9]_[0-9A-Z_]+|TQ[0-9]_[0-9]|MXFP4|NVFP4|B?F16|F32|q[0-9]b?f(?:16|32)(?:_[0-9])?(?:-MLC)?)$",
    re.IGNORECASE,
)
_MAX_CHARACTERS = 96


def model_name(path: Path) -> str:
    """Return the name of a file or folder without suffix and quantization, of safe characters.

    What is left are ASCII letters, digits, dots, dashes and underscores, not beginning with a dot
    or dash, so that it can be a file name anywhere.
    """
    whole = Path(os.path.abspath(path))
    name = whole.name if path.is_dir() else whole.stem
    if whole.parent.name == "snapshots" and whole.parent.parent.name.startswith("models--"):
        # Hugging Face's cache: models--OWNER--NAME/snapshots/REVISION
        name = whole.parent.parent.name.rsplit("--", 1)[-1]
    name = _QUANTIZATION.sub("", name)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")
    return name[:_MAX_CHARACTERS].rstrip("-._") or "model"
