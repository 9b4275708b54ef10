"""Where a bundle is installed, and how the installing scripts fail."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent


def facts() -> dict[str, Any]:
    """Return what bundle.json says."""
    loaded: dict[str, Any] = json.loads((ROOT / "bundle.json").read_text())
    return loaded


def installed_folder(name: str) -> Path:
    """Return the folder of an installed bundle."""
    data = os.environ.get("XDG_DATA_HOME") or home() / ".local" / "share"
    return Path(data) / "ferrylm" / "bundles" / name


def command_link(name: str) -> Path:
    """Return the link that makes a bundle a command."""
    return home() / ".local" / "bin" / f"ferry-{name}"


def home() -> Path:
    """Return $HOME, or end the process."""
    path = os.environ.get("HOME", "")
    if not os.path.isabs(path) or not os.path.isdir(path):
        fail(f"HOME is {path!a}", "your home folder", "set HOME")
    return Path(path)


def fail(found: str, wanted: str, fix: str) -> NoReturn:
    """End the process with one sentence."""
    sys.exit(f"error: {found}; wanted {wanted}; {fix}")
