"""Where goldens lie, and how their JSON is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

GOLDEN_FOLDER = Path(__file__).resolve().parent.parent / "tests" / "golden"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def read_texts(path: Path) -> list[str]:
    """Return the texts of a file in which a line of two percent signs parts them."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n%%\n")


def write_json(target: Path, content: dict[str, Any]) -> None:
    """Write ASCII JSON with one list element a line, so that a change shows as a small diff."""
    parts = []
    for key, value in content.items():
        if isinstance(value, list):
            rows = ",\n".join("  " + json.dumps(row) for row in value)
            parts.append(f" {json.dumps(key)}: [\n{rows}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    target.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="ascii")
