"""`ferry doctor`: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ferrylm.cli.output import Output, common_options

if TYPE_CHECKING:
    from ferrylm.cli.bundle_here import BundleHere
    from ferrylm.cli.doctor_checks import Line
    from ferrylm.cli.doctor_probe import Probe

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command("doctor")
@common_options
@click.pass_obj
def doctor(output: Output) -> None:
    """Check this machine.

    Versions, processor, memory, compiler, GPUs; in a bundle, what that needs. One line for each
    finding: ok, warn or fail, with what to do. Exit code 1 if one failed.
    """
    lines: list[Line] = []
    for check in all_checks():
        found = check()
        lines.extend(found)
        if not output.as_json:
            for line in found:
                _show(line, output)
    failed = any(line.status == "fail" for line in lines)
    if output.as_json:
        output.json({"ok": not failed, "checks": [asdict(line) for line in lines]})
    if failed:
        raise click.exceptions.Exit(1)


def all_checks() -> list[Callable[[], list[Line]]]:
    """Return the checks in the order in which they are shown."""
    from ferrylm.cli.bundle_here import running_bundle
    from ferrylm.cli.doctor_probe import probe_in_child

    bundle = running_bundle()
    found = probe_in_child()
    return _of_installation(found) if bundle is None else _of_bundle(bundle, found)


def _of_installation(found: Probe) -> list[Callable[[], list[Line]]]:
    from ferrylm.cli import doctor_checks as checks
    from ferrylm.cli.doctor_gpus import check_gpus
    from ferrylm.cli.doctor_vulkan import check_vulkan

    return [
        lambda: checks.check_versions(found),
        lambda: checks.check_backends(found),
        lambda: checks.check_compiler(found),
        checks.check_cpu,
        checks.check_memory,
        checks.check_disk,
        _check_bandwidth,
        lambda: check_vulkan(found),
        lambda: check_gpus(found, "cuda"),
        lambda: check_gpus(found, "rocm"),
    ]


def _of_bundle(bundle: BundleHere, found: Probe) -> list[Callable[[], list[Line]]]:
    """Return what matters where nothing is compiled, of the kinds of devices it is made for."""
    from ferrylm.cli import doctor_bundle as of_bundle
    from ferrylm.cli import doctor_checks as checks
    from ferrylm.cli.doctor_gpus import check_gpus
    from ferrylm.cli.doctor_vulkan import check_vulkan

    of_kinds: dict[str, list[Callable[[], list[Line]]]] = {
        "cpu": [checks.check_cpu, _check_bandwidth],
        "vulkan": [lambda: check_vulkan(found, of_bundle.REPAIR)],
        "cuda": [lambda: check_gpus(found, "cuda", wanted=True)],
        "rocm": [lambda: check_gpus(found, "rocm", wanted=True)],
    }
    return [
        lambda: of_bundle.check_bundle(bundle),
        lambda: checks.check_versions(found, of_bundle.REPAIR),
        lambda: of_bundle.check_backends(found),
        checks.check_memory,
        checks.check_cache,
        *(check for kind in sorted(bundle.kinds) for check in of_kinds[kind]),
        lambda: of_bundle.check_libraries(found),
    ]


def _check_bandwidth() -> list[Line]:
    from ferrylm.cli.doctor_checks import check_bandwidth, usable_cpus
    from ferrylm.runtime.cpu_features import host_cpu

    return check_bandwidth(thread_counts(min(host_cpu().physical_cores, usable_cpus())))


def thread_counts(cores: int) -> list[int]:
    """Return 1, 2, 4, ... up to the number of cores, which ends the list."""
    powers = [1 << bit for bit in range(cores.bit_length())]
    return sorted({*powers, cores})


def _show(line: Line, output: Output) -> None:
    from rich.text import Text

    text = Text.assemble(
        (f"{line.status:<4}", _STYLES[line.status]), "  ", f"{line.name:<26}", line.detail
    )
    if line.fix:
        text.append(f"\n      {'':<26}fix: {line.fix}", style="bright_black")
    output.stdout().print(text, soft_wrap=True)
