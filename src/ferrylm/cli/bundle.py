"""`ferry bundle`: an artifact and all that runs it, in one file."""

from __future__ import annotations

from pathlib import Path

import click

from ferrylm.cli.options import artifact_argument
from ferrylm.cli.output import Output, common_options
from ferrylm.cli.units import binary_size


@click.command("bundle")
@artifact_argument
@click.option(
    "-o",
    "--output",
    "archive",
    type=click.Path(path_type=Path),
    required=True,
    help="The archive, NAME.tar.zst or NAME.tar.gz.",
)
@click.option(
    "--target",
    "targets",
    default="all",
    show_default=True,
    metavar="LIST",
    help="Libraries to take along, separated by commas: cpu, vulkan, cuda and rocm stand for all "
    "of their kind in the artifact.",
)
@click.option(
    "--python",
    "pythons",
    default="3.10,3.11,3.12,3.13,3.14",
    show_default=True,
    metavar="LIST",
    help="Versions of Python that are to run it; here: this one, with its installed packages.",
)
@click.option("--weights/--no-weights", default=True, help="Whether the weights go along.")
@click.option("--name", help="Install it as ferry-NAME; default: the model's name.")
@click.option(
    "--wheels",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Take wheels from this folder first, and keep in it those that pip downloads.",
)
@click.option("--offline", is_flag=True, help="Take wheels from that folder only.")
@common_options
@click.pass_obj
def bundle(
    output: Output,
    artifact: Path,
    archive: Path,
    targets: str,
    pythons: str,
    weights: bool,
    name: str | None,
    wheels: Path | None,
    offline: bool,
) -> None:
    """Pack an artifact and all that runs it into one file.

    For a machine without pip, compiler and root: unpack it there and run ./ferry or ./install.sh.
    Wheels for other versions of Python come from pip's index.
    """
    from ferrylm.bundle import BundleOptions, make_bundle

    options = BundleOptions(
        artifact=artifact,
        output=archive,
        targets=_names(targets),
        pythons=_names(pythons),
        weights=weights,
        name=name,
        wheels=wheels,
        offline=offline,
    )
    with output.progress() as progress:
        made = make_bundle(options, progress)
    if output.as_json:
        output.json(
            {
                "path": str(made.path),
                "name": made.name,
                "targets": list(made.targets),
                "pythons": list(made.pythons),
                "size_bytes": made.size_bytes,
                "unpacked_bytes": made.unpacked_bytes,
                "glibc": made.glibc,
            }
        )
        return
    output.data(str(made.path))
    pythons_text, targets_text = ", ".join(made.pythons), ", ".join(made.targets)
    output.note(
        f"{binary_size(made.size_bytes)}, unpacked {binary_size(made.unpacked_bytes)}; "
        f"needs Python {pythons_text} and glibc {made.glibc}; targets {targets_text}"
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
