"""Changes the golden data of an artifact, hashes and all, as one who can compile could."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from artifact_samples import change_manifest

from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.strict_json import dumps_canonical
from ferrylm.runtime.verification import Check, verify


def golden_document(artifact: Path) -> Any:
    """Return the golden data as plain JSON."""
    with Artifact.open(artifact) as opened:
        entry = opened.manifest.golden
    assert entry is not None
    return json.loads((artifact / entry.path).read_bytes())


def replace_golden(artifact: Path, data: bytes) -> None:
    """Put other golden data into an artifact and name it in the manifest."""
    digest = hashlib.sha256(data).hexdigest()
    name = f"golden-{digest[:16]}.json"
    (artifact / name).write_bytes(data)
    entry = {"path": name, "size_bytes": len(data), "sha256": digest}
    change_manifest(artifact, ("golden",), entry)


def change_golden(artifact: Path, change: Callable[[Any], object]) -> None:
    """Let `change` edit the golden JSON in place."""
    document = golden_document(artifact)
    change(document)
    replace_golden(artifact, dumps_canonical(document))


def change_number(array: Any, index: tuple[int, ...], factor: float) -> None:
    """Multiply one number of a stored array."""
    values = np.frombuffer(base64.b64decode(array["data"]), "<f4").reshape(array["shape"]).copy()
    values[index] *= factor
    array["data"] = base64.b64encode(values.tobytes()).decode()


def checks_of(path: Path, **options: Any) -> list[Check]:
    """Verify an artifact in one thread."""
    with Artifact.open(path) as artifact:
        return verify(artifact, threads=1, **options)


def failed(checks: list[Check]) -> set[str]:
    """Return the names of the checks that did not pass."""
    return {check.name for check in checks if not check.passed}


def cases_of(golden: Any, operation: str) -> list[Any]:
    """Return the cases of an operation."""
    return [case for case in golden["cases"] if case["operation"] == operation]


def checks_of_case(golden: Any, case: Any) -> list[Any]:
    """Return the first library's checks of a case."""
    return [c for c in golden["libraries"][0]["checks"] if c["case"] == case["name"]]
