"""Wheels for several versions of Python, fetched with pip and unpacked."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ferrylm.bundle.distributions import Distribution
from ferrylm.errors import BundleError

# manylinux_2_28 is what the newest of the needed wheels ask for; older ones run there too.
_GLIBC_MINORS = range(28, 11, -1)
_OFFLINE_FIX = "run it once with --wheels and without --offline: it keeps the wheels in that folder"
_ONLINE_FIX = "check the network and pip's index, or bundle the running Python's with --python here"


def fetch(
    wanted: Sequence[Distribution],
    python: str,
    folder: Path,
    *,
    wheels: Path | None = None,
    offline: bool = False,
) -> dict[str, Path]:
    """Unpack the wheels for one version of Python below `folder`.

    Returns a folder for each name. `wheels` is looked into first and gets what was downloaded.
    Raises BundleError.
    """
    _require_pip()
    downloads = folder / f"wheels-{python}"
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--implementation", "cp",
        "--python-version", python, "--dest", str(downloads),
    ]  # fmt: skip
    for tag in _platforms():
        command += ["--platform", tag]
    if wheels is not None:
        wheels.mkdir(parents=True, exist_ok=True)
        command += ["--find-links", str(wheels.resolve())]
    if offline:
        command.append("--no-index")
    command += [f"{item.name}=={item.version_for(python)}" for item in wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BundleError(
            f"pip has no wheels for Python {python}: {_reason(done.stderr)}",
            wanted=f"wheels for CPython {python} on {platform.machine()}",
            fix=_OFFLINE_FIX if offline else _ONLINE_FIX,
        )
    if wheels is not None:
        for path in downloads.iterdir():
            if not (wheels / path.name).exists():
                shutil.copyfile(path, wheels / path.name)
    return _unpacked(downloads, folder / f"unpacked-{python}")


def normal_name(name: str) -> str:
    """Return a distribution's name as file names of wheels spell it."""
    return name.replace("-", "_").replace(".", "_").lower()


def _platforms() -> list[str]:
    machine = platform.machine()
    return [
        *(f"manylinux_2_{minor}_{machine}" for minor in _GLIBC_MINORS),
        f"manylinux2014_{machine}",
    ]


def _require_pip() -> None:
    if importlib.util.find_spec("pip") is None:
        raise BundleError(
            "no pip in this Python",
            wanted="pip, to fetch wheels for other versions of Python",
            fix="run `python -m ensurepip`, or bundle the running Python's with --python here",
        )


def _reason(stderr: str) -> str:
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR")]
    lines = errors or stderr.strip().splitlines() or ["no message"]
    return lines[-1].removeprefix("ERROR: ")[:300]


def _unpacked(downloads: Path, folder: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(downloads.glob("*.whl")):
        target = folder / normal_name(path.name.partition("-")[0])
        try:
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(target)
        except (zipfile.BadZipFile, OSError) as error:
            raise BundleError(
                f"{path.name} cannot be unpacked ({error})",
                wanted="a whole wheel",
                fix="remove it from the folder of --wheels and from pip's cache, and try again",
            ) from None
        found[target.name] = target
    return found
