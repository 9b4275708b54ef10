"""Remove the installed bundle of this name: its folder and its link."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ferrylm.bundle.scripts.places import command_link, facts, fail, installed_folder
else:
    # -I keeps the script's own folder out of the path.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from places import command_link, facts, fail, installed_folder


def main() -> None:
    """Remove both, or say that there is nothing to remove."""
    name = facts()["name"]
    folder, link = installed_folder(name), command_link(name)
    if not (folder / "bundle.json").is_file():
        fail(f"no bundle in {folder}", "an installed bundle", "there is nothing to remove")
    if link.is_symlink() and Path(os.readlink(link)) == folder / "ferry":
        link.unlink()
    try:
        shutil.rmtree(folder)
    except OSError as error:
        fail(f"{error.strerror} ({error.filename})", "files of yours", f"remove {folder} yourself")
    print(f"removed {folder}")


if __name__ == "__main__":
    main()
