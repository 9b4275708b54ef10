"""Arguments and options that several verbs share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

T = TypeVar("T")
Verb = Callable[..., None]

# The artifact's own checks say what is wrong with a folder, so click does not look at it.
artifact_argument = click.argument("artifact", metavar="DIR", type=click.Path(path_type=Path))
threads_option = click.option(
    "-t", "--threads", type=click.IntRange(1, 4096), help="Threads; default: the physical cores."
)
context_option = click.option(
    "-c",
    "--context",
    type=click.IntRange(1),
    help="Tokens of context; default: the model's, at most 8192.",
)


def _checked_device(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    from ferrylm.runtime.devices import parse_device

    return parse_device(text).text


device_option = click.option(
    "--device",
    metavar="KIND[:WHICH]",
    callback=_checked_device,
    default="auto",
    show_default=True,
    help="auto, cpu, vulkan, cuda or rocm, and which one: vulkan:1, vulkan:NAME. Never falls back "
    "to another; auto takes a GPU before the CPU, and none in software.",
)
target_option = click.option("--target", help="Use the library for exactly this target.")


@dataclass(frozen=True)
class Placement:
    """On what, with how many threads and with how much context a model is to run."""

    device: str
    target: str | None
    threads: int | None
    context: int | None


def placement_options(function: Verb) -> Verb:
    """Give a verb the options of `Placement`; it takes them as its argument `placement`."""
    gathered = gather("placement", Placement, function)
    for option in (target_option, device_option, context_option, threads_option):
        gathered = option(gathered)
    return gathered


def gather(name: str, kind: type[T], function: Verb) -> Verb:
    """Let `function` take one `kind`, a dataclass, as `name` in place of click's single values."""
    keys = [field.name for field in fields(kind)]  # type: ignore[arg-type]

    @functools.wraps(function)
    def gathered(*arguments: Any, **values: Any) -> None:
        values[name] = kind(**{key: values.pop(key) for key in keys})
        function(*arguments, **values)

    return gathered
