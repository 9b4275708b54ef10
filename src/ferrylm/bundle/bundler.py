"""Puts a bundle together, from artifact and packages to the written archive."""

from __future__ import annotations

import json
import platform
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ferrylm import __version__
from ferrylm.bundle.archive import check_output, write_archive
from ferrylm.bundle.artifact_part import (
    add_artifact,
    chosen_manifest,
    device_kinds,
)
from ferrylm.bundle.installed import TVM, installed_version
from ferrylm.bundle.options import HERE, PYTHONS, BundleOptions
from ferrylm.bundle.packages import PACKAGES, Folders, add_packages
from ferrylm.bundle.tree import BundleTree, Member
from ferrylm.errors import UsageError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.manifest import FileEntry, Manifest
from ferrylm.runtime.progress import ProgressCallback, ignore_progress

FACTS = "bundle.json"  # what the scripts in the bundle need to know about it

_SCRIPTS = Path(__file__).parent / "scripts"
_AT_ROOT = ("ferry", "install.sh", "uninstall.sh", "README.md")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Bundle:
    """A written bundle."""

    path: Path
    name: str
    targets: tuple[str, ...]
    pythons: tuple[str, ...]
    size_bytes: int
    unpacked_bytes: int
    glibc: str


def make_bundle(options: BundleOptions, progress: ProgressCallback = ignore_progress) -> Bundle:
    """Write the archive that `options` asks for.

    Raises UsageError, ArtifactError, IntegrityError, BundleError; there is no archive then, or
    the one that was there before.
    """
    check_output(options.output)
    _check_pythons(options.pythons)
    with (
        Artifact.open(options.artifact) as artifact,
        tempfile.TemporaryDirectory(prefix="ferry-bundle-") as scratch,
    ):
        manifest = chosen_manifest(artifact.manifest, options.targets)
        name = options.name or _plain_name(manifest.name)
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"the name {name[:80]!a}",
                wanted="at most 64 letters, digits, dots, dashes and underscores",
                fix="give another --name",
            )
        tree = BundleTree()
        apart = add_artifact(tree, artifact, manifest, weights=options.weights)
        folders = add_packages(tree, options, device_kinds(manifest), Path(scratch), progress)
        # Not of the libraries for GPUs: where one of them cannot be loaded, the others still run.
        glibc = "{}.{}".format(*tree.needed_glibc(PACKAGES, without="/ferrylm/native/"))
        facts = _facts(name, manifest, folders, apart, glibc)
        tree.add(FACTS, Member(facts))
        _add_scripts(tree)
        unpacked = sum(member.size_bytes for _, member in tree.items())
        size = write_archive(tree, f"ferry-{name}", options.output, progress)
    targets = tuple(library.target for library in manifest.libraries)
    return Bundle(options.output, name, targets, tuple(folders), size, unpacked, glibc)


def _facts(
    name: str, manifest: Manifest, folders: Folders, apart: tuple[FileEntry, ...], glibc: str
) -> bytes:
    facts = {
        "name": name,
        "model": manifest.name,
        "artifact_id": manifest.artifact_id,
        "targets": [library.target for library in manifest.libraries],
        "machine": platform.machine(),
        "glibc": glibc,
        "packages": folders,
        "weights_apart": [
            {"path": e.path, "size_bytes": e.size_bytes, "sha256": e.sha256} for e in apart
        ],
        "ferrylm": __version__,
        "tvm": installed_version(TVM),
    }
    return json.dumps(facts, indent=1, sort_keys=True).encode() + b"\n"


def _add_scripts(tree: BundleTree) -> None:
    for path in sorted(_SCRIPTS.iterdir()):
        if path.name in _AT_ROOT:
            executable = path.suffix != ".md"
            tree.add(path.name, Member(path, executable=executable))
        elif path.is_file() and path.name != "__init__.py":
            tree.add(f"scripts/{path.name}", Member(path))


def _check_pythons(pythons: tuple[str, ...]) -> None:
    if pythons == (HERE,):
        running = f"{sys.version_info[0]}.{sys.version_info[1]}"
        if sys.implementation.name == "cpython" and running in PYTHONS:
            return
    elif pythons and all(python in PYTHONS for python in pythons):
        return
    raise UsageError(
        f"--python {','.join(pythons)}",
        wanted=f"some of {', '.join(PYTHONS)}, or {HERE} for the running CPython",
        fix="leave --python out for all of them",
    )


def _plain_name(name: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:64] or "model"
