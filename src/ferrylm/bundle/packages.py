"""The Python packages of a bundle: one folder for all versions of Python, where that can be.

Extension modules carry the version of Python in their names and everything else in a release is
equal, so the wheels of a release are laid over each other. Where two versions of Python get two
releases of a package, each release has a folder of its own.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from ferrylm.bundle.distributions import TVM_FFI, Distribution, distributions
from ferrylm.bundle.installed import (
    add_ferrylm,
    add_tvm,
    installed_files,
    installed_version,
)
from ferrylm.bundle.options import HERE, BundleOptions
from ferrylm.bundle.tree import BundleTree, Member
from ferrylm.bundle.wheels import fetch, normal_name
from ferrylm.runtime.progress import Progress, ProgressCallback

PACKAGES = "packages"
COMMON = f"{PACKAGES}/common"

Folders = dict[str, list[str]]


def add_packages(
    tree: BundleTree,
    options: BundleOptions,
    kinds: frozenset[str],
    scratch: Path,
    progress: ProgressCallback,
) -> Folders:
    """Add every package; return the folders for sys.path by version of Python.

    Raises BundleError.
    """
    add_ferrylm(tree, COMMON, kinds)
    add_tvm(tree, COMMON, kinds)
    wanted = distributions(installed_version(TVM_FFI), kinds)
    if options.pythons == (HERE,):
        for item in wanted:
            for path, file in installed_files(item):
                tree.add(f"{COMMON}/{path}", Member(file))
        return {f"{sys.version_info[0]}.{sys.version_info[1]}": [COMMON]}
    fetched = {}
    for done, python in enumerate(options.pythons):
        progress(Progress("fetch wheels", done, len(options.pythons), "versions"))
        fetched[python] = fetch(
            wanted, python, scratch, wheels=options.wheels, offline=options.offline
        )
    progress(Progress("fetch wheels", len(fetched), len(fetched), "versions"))
    folders: Folders = {python: [COMMON] for python in fetched}
    for item in wanted:
        _add_releases(tree, item, fetched, folders)
    return folders


def _add_releases(
    tree: BundleTree,
    item: Distribution,
    fetched: Mapping[str, dict[str, Path]],
    folders: Folders,
) -> None:
    """Add the wheels of one package, and its own folders to `folders` where it needs some."""
    pythons = defaultdict(list)
    for python in fetched:
        pythons[item.version_for(python)].append(python)
    for version, users in sorted(pythons.items()):
        folder = COMMON if len(pythons) == 1 else f"{PACKAGES}/{item.name}-{version}"
        for python in users:
            _add_wheel(tree, folder, item, fetched[python][normal_name(item.name)])
            if folder != COMMON:
                folders[python].insert(0, folder)


def _add_wheel(tree: BundleTree, folder: str, item: Distribution, wheel: Path) -> None:
    for file in sorted(wheel.rglob("*")):
        path = file.relative_to(wheel).as_posix()
        if not file.is_file() or not item.keeps(path):
            continue
        target = f"{folder}/{path}"
        if path in item.may_differ and target in tree:
            continue
        tree.add(target, Member(file))
