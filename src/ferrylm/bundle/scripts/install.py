"""Check every file of this bundle and install it under $HOME.

The bundle is copied beside its place and renamed, so that a failed install changes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ferrylm.bundle.scripts.places import ROOT, command_link, facts, fail, installed_folder
else:
    # -I keeps the script's own folder out of the path.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from places import ROOT, command_link, facts, fail, installed_folder

SUMS = "SHA256SUMS"
SPARE_BYTES = 64 << 20
PIECE_BYTES = 4 << 20


def main() -> None:
    """Install, or only check."""
    parser = argparse.ArgumentParser(prog="install.sh", description=__doc__)
    parser.add_argument("--check", action="store_true", help="check the files, install nothing")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="artifact with the weights")
    options = parser.parse_args()
    known = facts()
    sums = _sums()
    if options.check:
        for path, digest in sums.items():
            _check(path, _digest(ROOT / path, None), digest)
        print(f"{len(sums)} files are right")
        return
    try:
        _install(known, sums, options.weights)
    except OSError as error:
        fail(f"{error.strerror} ({error.filename})", "a home folder with room", "make some")


def _install(known: dict[str, Any], sums: dict[str, str], weights: Path | None) -> None:
    folder, link = installed_folder(known["name"]), command_link(known["name"])
    if folder.resolve() == ROOT:
        fail(f"{ROOT} is the installed bundle", "an unpacked one", "use it as it is")
    if (link.exists() or link.is_symlink()) and not _is_ours(link, folder):
        fail(f"{link} is not of this bundle", "no such file", "rename it or remove it")
    if folder.exists() and not (folder / "bundle.json").is_file():
        fail(f"{folder} is no installed bundle", "no such folder", "rename it or remove it")
    places = _weight_places(known, folder, weights)
    _require_space(folder, [ROOT / path for path in sums] + [place for _, place in places])
    new = folder.with_name(f".{folder.name}.new-{os.getpid()}")
    try:
        for path, digest in sums.items():
            _check(path, _digest(ROOT / path, new / path), digest)
        for entry, place in places:
            target = new / "artifact" / entry["path"]
            _check(str(place), _digest(place, target), entry["sha256"])
        shutil.copyfile(ROOT / SUMS, new / SUMS)
        _exchange(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    _link(link, folder / "ferry")
    print(f"installed in {folder}\nrun it with: {_command(link)} run -p 'Hello'")


def _weight_places(
    known: dict[str, Any], folder: Path, weights: Path | None
) -> list[tuple[dict[str, Any], Path]]:
    """Return where each file of weights lies that the bundle itself has not."""
    places = []
    for entry in known["weights_apart"]:
        folders = ([weights] if weights else []) + [ROOT / "artifact", folder / "artifact"]
        place = next((f / entry["path"] for f in folders if (f / entry["path"]).is_file()), None)
        if place is None:
            fail(
                f"no {entry['path']} in {' or '.join(str(f) for f in folders)}",
                "the weights, which this bundle was made without",
                "name the artifact that has them with --weights DIR",
            )
        places.append((entry, place))
    return places


def _sums() -> dict[str, str]:
    path = ROOT / SUMS
    if not path.is_file():
        fail(f"no {path}", "a whole bundle", "unpack the archive again")
    lines = path.read_text().splitlines()
    return {line[66:]: line[:64] for line in lines}


def _digest(source: Path, copy: Path | None) -> str:
    """Return a file's SHA-256, copying it on the way; nothing for a file that is not there."""
    if not source.is_file():
        return "no file"
    state = hashlib.sha256()
    if copy is not None:
        copy.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reader, open(copy or os.devnull, "wb") as writer:
        while piece := reader.read(PIECE_BYTES):
            state.update(piece)
            writer.write(piece)
    if copy is not None:
        copy.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
    return state.hexdigest()


def _check(path: str, found: str, wanted: str) -> None:
    if found != wanted:
        found = found if found == "no file" else f"SHA-256 {found[:16]}"
        fail(f"{path}: {found}", f"SHA-256 {wanted[:16]}", "fetch and unpack the bundle again")


def _require_space(folder: Path, files: list[Path]) -> None:
    wanted = sum(file.stat().st_size for file in files if file.is_file()) + SPARE_BYTES
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if free < wanted:
        fail(f"{free >> 20} MiB free at {folder.parent}", f"{wanted >> 20} MiB", "free some disk")


def _exchange(new: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _is_ours(link: Path, folder: Path) -> bool:
    return link.is_symlink() and Path(os.readlink(link)) == folder / "ferry"


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.symlink_to(target)
    temporary.replace(link)


def _command(link: Path) -> str:
    on_path = str(link.parent) in os.environ.get("PATH", "").split(os.pathsep)
    return link.name if on_path else str(link)


if __name__ == "__main__":
    main()
