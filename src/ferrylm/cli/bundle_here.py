"""The bundle that this process was started from, as its launcher names it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ferrylm.errors import BundleError

ROOT_VARIABLE = "FERRY_BUNDLE"  # set by scripts/start.py in a bundle

_FACTS = "bundle.json"


@dataclass(frozen=True)
class BundleHere:
    """What a running bundle says of itself."""

    root: Path
    name: str
    targets: tuple[str, ...]
    missing_weights: tuple[str, ...]  # files that are to be installed with --weights

    @property
    def artifact(self) -> Path:
        """Return the folder of its artifact."""
        return self.root / "artifact"

    @property
    def kinds(self) -> frozenset[str]:
        """Return the kinds of devices that it has libraries for."""
        return frozenset(target.partition("-")[0] for target in self.targets)


def running_bundle() -> BundleHere | None:
    """Return the bundle that this process belongs to, if any. Raises BundleError."""
    root = os.environ.get(ROOT_VARIABLE)
    if not root:
        return None
    path = Path(root) / _FACTS
    try:
        facts = json.loads(path.read_bytes())
        apart = [str(entry["path"]) for entry in facts["weights_apart"]]
        name, targets = str(facts["name"]), tuple(str(target) for target in facts["targets"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{path} cannot be read ({error})",
            wanted="the bundle as it was unpacked",
            fix=f"unpack the bundle again, or unset {ROOT_VARIABLE}",
        ) from None
    missing = tuple(file for file in apart if not (Path(root) / "artifact" / file).is_file())
    return BundleHere(Path(root), name, targets, missing)
