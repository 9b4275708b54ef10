"""Print the packages of pyproject.toml's dependency group "dev", one a line."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:  # Python 3.10 has no TOML reader, but pip carries one
    from pip._vendor import tomli as tomllib

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"

if __name__ == "__main__":
    print(*tomllib.loads(PYPROJECT.read_text())["dependency-groups"]["dev"], sep="\n")
