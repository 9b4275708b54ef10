from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from artifact_samples import (
    change_manifest,
    entry_of,
    write_sample,
)

from ferrylm.runtime.manifest import Manifest

OPEN_LOGGER = """
import os, sys
from pathlib import Path
from ferrylm.errors import FerryError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.manifest import manifest_files
import concurrent.futures.thread, tempfile  # what is imported late would be logged

opened = []
sys.addaudithook(lambda event, arguments: opened.append((arguments[0], arguments[2]))
                 if event == "open" else None)
refused = 0
for folder in sys.argv[1:]:
    try:
        with Artifact.open(Path(folder)) as artifact:
            artifact.verify_all()
            list(artifact.iterate_tensors())
    except FerryError:
        refused += 1
print(refused)
for name, flags in sorted({(os.fsdecode(name), flags) for name, flags in opened}):
    print(name + ("" if flags & os.O_NOFOLLOW else " LINKS"))
"""

HOSTILE_NAMES = [
    "..",
    "../secret",
    "/etc/hostname",
    "a/../../secret",
    "..\\secret",
    "secret\0",
    "C:\\secret",
    "./secret",
    "\uff0e\uff0e/secret",
    "%2e%2e/secret",
    "~/secret",
    "secret\n",
    "-" * 5000,
    "CON",
    ".lock",
    "manifest.json",
    "",
    "/proc/self/mem",
    "file:///etc/hostname",
]


def test_hostile_names_are_never_opened(tmp_path: Path) -> None:
    secret = b"secret"
    digest = entry_of("x", "", secret).sha256
    (tmp_path / "secret").write_bytes(secret)
    (tmp_path / f"secret-{digest[:16]}").write_bytes(secret)
    folders = []
    names = [name + ending for name in HOSTILE_NAMES for ending in ("", f"-{digest[:16]}")]
    names.append(f"link-{digest[:16]}")
    for number, name in enumerate(names):
        folder = tmp_path / f"artifact{number}"
        manifest: Manifest = write_sample(folder)
        (folder / f"link-{digest[:16]}").symlink_to("../secret")
        path: tuple[str | int, ...] = (
            ("golden",) if number % 2 else ("weights", "files", len(manifest.weights.files) - 1)
        )
        change_manifest(folder, path, {"path": name, "size_bytes": 6, "sha256": digest})
        folders.append(folder)
    result = subprocess.run(
        [sys.executable, "-c", OPEN_LOGGER, *map(str, folders)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    refused, *opened = result.stdout.rstrip("\n").split("\n")
    assert int(refused) == len(names)
    assert "manifest.json" in opened, "the log must see what is opened"
    folder_opens = {f"{folder} LINKS" for folder in folders}
    assert folder_opens <= set(opened)
    for name in set(opened) - folder_opens:
        assert "/" not in name
        assert "\\" not in name
        assert " LINKS" not in name
        assert name.strip(".")
