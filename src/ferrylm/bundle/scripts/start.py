"""Run ferry's command line with the packages and the artifact of this bundle."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ARTIFACT = ROOT / "artifact"
MANIFEST = "manifest.json"

OF_AN_ARTIFACT = ("run", "chat", "bench", "verify", "inspect")
NEEDS_COMPILER = ("compile", "bundle")


def main() -> None:
    """Set the import path, complete the arguments and hand over."""
    facts = json.loads((ROOT / "bundle.json").read_text())
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    folders = [str(ROOT / folder) for folder in facts["packages"][version]]
    sys.path[:0] = folders
    # For processes that this one starts.
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    os.environ["PYTHONNOUSERSITE"] = "1"
    os.environ["TVM_USE_RUNTIME_LIB"] = "1"
    os.environ["FERRY_BUNDLE"] = str(ROOT)
    _ensure_temporary_folder()
    arguments = sys.argv[1:]
    _refuse_what_is_not_here(arguments, facts)
    sys.argv = ["ferry", *_with_artifact(arguments)]
    from ferrylm.cli import main as ferry

    ferry()


def _ensure_temporary_folder() -> None:
    """Use the cache folder where neither TMPDIR nor /tmp can be written."""
    with suppress(OSError):
        if tempfile.gettempdir() != os.getcwd():  # the last place that tempfile tries
            return
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(cache, "ferrylm", "tmp")
    with suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        tempfile.tempdir = os.environ["TMPDIR"] = folder


def _with_artifact(arguments: list[str]) -> list[str]:
    """Name the bundle's artifact after the verb, unless the arguments name one."""
    if not arguments or arguments[0] not in OF_AN_ARTIFACT:
        return arguments
    if any(
        Path(argument, MANIFEST).is_file() for argument in arguments[1:] if len(argument) < 4096
    ):
        return arguments
    return [arguments[0], str(ARTIFACT), *arguments[1:]]


def _refuse_what_is_not_here(arguments: list[str], facts: dict[str, Any]) -> None:
    verb = arguments[0] if arguments else ""
    missing = [e["path"] for e in facts["weights_apart"] if not (ARTIFACT / e["path"]).is_file()]
    if verb in NEEDS_COMPILER:
        _fail(
            arguments,
            f"the verb {verb} in a bundle, which has no compiler",
            f"one of {', '.join(OF_AN_ARTIFACT)}, doctor",
            "install 'ferrylm[compile,bundle]' with pip on the machine that compiles",
        )
    if verb in OF_AN_ARTIFACT and verb != "inspect" and missing:
        _fail(
            arguments,
            f"a bundle without its weights: no {missing[0]}",
            "the weights of the artifact that it was made from",
            f"run {ROOT / 'install.sh'} --weights DIR, DIR being that artifact",
        )


def _fail(arguments: list[str], found: str, wanted: str, fix: str) -> None:
    from ferrylm.cli.failures import report_failure
    from ferrylm.cli.output import Output
    from ferrylm.errors import BundleError

    error = BundleError(found, wanted=wanted, fix=fix)
    sys.exit(report_failure(error, Output(as_json="--json" in arguments)))


if __name__ == "__main__":
    main()
