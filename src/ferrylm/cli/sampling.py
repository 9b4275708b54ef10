"""The options of `run` and `chat` that steer the draw, under llama.cpp's names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from ferrylm.cli.hints import fix_for
from ferrylm.cli.options import Verb, gather
from ferrylm.errors import UsageError

if TYPE_CHECKING:
    from ferrylm.runtime.sampling_options import SamplingOptions


@dataclass(frozen=True)
class Sampling:
    """What the command line or `/set` asked for; None leaves a value to the model's maker."""

    max_tokens: int | None = None
    temp: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def options(self) -> SamplingOptions:
        """Return the runtime's options, which check every value. Raises UsageError."""
        from ferrylm.runtime.sampling_options import SamplingOptions

        return SamplingOptions(
            temperature=self.temp,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repeat_penalty,
            seed=self.seed,
        )

    def changed(self, name: str, text: str) -> Sampling:
        """Return these settings with one of them read from `text`, checked. Raises UsageError."""
        key = name.strip().lower().replace("-", "_")
        if key not in _READERS:
            raise UsageError(
                f"the unknown setting {name!a}",
                wanted="one of " + ", ".join(_READERS),
                fix=fix_for(key, _READERS),
            )
        try:
            value = _READERS[key](text)
        except ValueError:
            raise UsageError(
                f"{key}={ascii(text)[:80]}", wanted="a number", fix=f"write /set {key}=NUMBER"
            ) from None
        changes: dict[str, Any] = {key: value}
        changed = replace(self, **changes)
        changed.options()
        if changed.max_tokens is not None and changed.max_tokens < 1:
            raise UsageError(
                f"max_tokens={changed.max_tokens}",
                wanted="at least 1",
                fix="write /set max_tokens=128",
            )
        return changed


_READERS: dict[str, Callable[[str], object]] = {
    "temp": float,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "repeat_penalty": float,
    "seed": int,
    "max_tokens": int,
    "stop": lambda text: (text,) if text else (),
}


def sampling_options(function: Verb) -> Verb:
    """Give a verb the options of `Sampling`; it takes them as its argument `sampling`."""
    options = [
        click.option("-n", "--max-tokens", type=click.IntRange(1),
                     help="Tokens to generate at most; default: what the context holds."),
        click.option("--temp", type=float, help="Temperature; 0 takes the likeliest token."),
        click.option("--top-k", type=int, help="Keep the k likeliest tokens; 0 keeps all."),
        click.option("--top-p", type=float, help="Keep the likeliest tokens up to this mass."),
        click.option("--min-p", type=float, help="Keep tokens at least this relative probability."),
        click.option("--repeat-penalty", type=float, help="Penalty on repeated tokens; 1 is none."),
        click.option("--seed", type=int, help="Seed of the draw; the same seed, the same answer."),
        click.option("--stop", multiple=True, metavar="TEXT",
                     help="End the answer before this text; may be repeated."),
    ]  # fmt: skip
    gathered = gather("sampling", Sampling, function)
    for option in reversed(options):
        gathered = option(gathered)
    return gathered
