"""`ferry --version`: the versions that decide what an artifact can do here."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import click

from ferrylm import __version__

TVM_DISTRIBUTION, FFI_DISTRIBUTION = "apache-tvm", "apache-tvm-ffi"


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution, from its metadata alone."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def version_line() -> str:
    """Return "ferry 0.1.0 (tvm 0.27.0, tvm-ffi 0.1.15)"."""
    tvm = installed_version(TVM_DISTRIBUTION) or "not installed"
    tvm_ffi = installed_version(FFI_DISTRIBUTION) or "not installed"
    return f"ferry {__version__} (tvm {tvm}, tvm-ffi {tvm_ffi})"


def show_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    """Print the version line and stop: the callback of --version."""
    if value and not context.resilient_parsing:
        click.echo(version_line())
        context.exit()
