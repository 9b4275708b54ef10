"""Runs commands as a container would: read-only root, ordinary user, only $HOME to write to."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

NOBODY = 65534
SYSTEM_PATH = "/usr/bin:/bin"

# $1 is the home folder, $2 the command that drops root or nothing; the rest is what to run.
_ENTER = """
mount --make-rprivate / && mount --bind "$1" "$1" && mount -o remount,bind,ro / || exit 97
for folder in /tmp /var/tmp /dev/shm; do
    mountpoint -q $folder && case $1 in $folder/*) ;; *) mount -o remount,bind,ro $folder ;; esac
done
cd "$1"; home=$1; drop=$2; shift 2
exec env HOME="$home" $drop "$@"
"""
_DROP_ROOT = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --no-new-privs"


@cache
def unshare_command() -> tuple[str, ...]:
    """Return the command that makes a namespace of mounts here; none if nothing may."""
    root = os.geteuid() == 0
    command = ("unshare", "--mount") if root else ("unshare", "--user", "--map-root-user", "-m")
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return ()
    return command if allowed.returncode == 0 else ()


def run_in_sandbox(
    home: Path, command: Sequence[str], variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing of this process's environment but what is given.

    Skips the calling test where no namespace can be made.
    """
    unshare = unshare_command()
    if not unshare or shutil.which("setpriv") is None:
        pytest.skip("namespaces of mounts are not allowed here")
    drop = ""
    if os.geteuid() == 0:
        drop = _DROP_ROOT
        for path in (home, *home.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        for parent in home.parents:
            # pytest's folders are its user's alone; the path through them must be open.
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
    done = subprocess.run(
        [*unshare, "sh", "-c", _ENTER, "sh", str(home), drop, *command],
        env={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode != 97, done.stderr
    return done
