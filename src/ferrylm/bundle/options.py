"""What a bundle is asked to hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
HERE = "here"


@dataclass(frozen=True)
class BundleOptions:
    """One call of `ferry bundle`."""

    artifact: Path
    output: Path
    targets: tuple[str, ...] = ("all",)  # kinds and single targets of the artifact
    pythons: tuple[str, ...] = PYTHONS  # or HERE alone: the packages of the running Python
    weights: bool = True
    name: str | None = None  # of the installed command, ferry-NAME; None: the model's
    wheels: Path | None = None  # a folder to take wheels from, and to keep downloaded ones in
    offline: bool = False  # take wheels from that folder only
