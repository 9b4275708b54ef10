"""Artifacts of the tiny models, each compiled once a session, whatever the number of workers."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

from ferrylm.compile import library
from ferrylm.compile.compiler import compile_model
from ferrylm.compile.options import CompileOptions
from ferrylm.schedules.cpu.profile import PROFILES
from tests.engine.tiny_sources import LINEAR, LLAMA3, YARN, TinySource
from tests.schedules.kernel_runner import missing_features

Build = Callable[[str], Path]


@dataclass(frozen=True)
class Recipe:
    """A tiny model and how it is compiled."""

    source: TinySource
    quantization: str
    arithmetic: str = "f32"
    every_profile: bool = False  # all that this machine runs, instead of the best
    batches: tuple[int, ...] = (1,)  # of decode; fewer are sooner compiled
    vulkan: tuple[str, ...] = ()  # tiers
    head: str | None = None  # the quantization of embedding and head, if another


_SMOL = TinySource(
    hidden=576, inner=200, layers=1, heads=9, kv_heads=3, head_dim=64, vocabulary=1001
)

_ALL = library.DECODE_BATCHES

RECIPES = {
    "plain": Recipe(
        TinySource(vocabulary=301, rope_scaling=LLAMA3), "q0f32", every_profile=True, batches=_ALL
    ),
    "wide heads": Recipe(
        TinySource(
            hidden=160, layers=1, heads=2, kv_heads=1, head_dim=80, tied=False, rope_scaling=YARN
        ),
        "q0f32",
    ),
    "odd columns": Recipe(
        TinySource(
            hidden=100, inner=90, layers=1, heads=3, kv_heads=3, head_dim=96, rope_scaling=LINEAR
        ),
        "q0f16",
    ),
    "bytes": Recipe(TinySource(hidden=72, inner=50, head_dim=18), "q8f16"),
    "nibbles": Recipe(_SMOL, "q4f16"),
    "int16": Recipe(_SMOL, "q4f16", "int16", batches=_ALL),
    # Odd heads of 18, which are no whole number of vectors, and rows that are none of anything.
    "vulkan nibbles": Recipe(
        TinySource(hidden=72, inner=104, heads=6, kv_heads=2, head_dim=18, vocabulary=301),
        "q4f16",
        "int16",
        batches=(1, 4),
        vulkan=("subgroup8", "subgroup8-dot"),
    ),
    "vulkan halves": Recipe(
        TinySource(
            hidden=100,
            inner=90,
            layers=1,
            heads=3,
            kv_heads=3,
            head_dim=96,
            tied=False,
            rope_scaling=LINEAR,
        ),
        "q0f16",
        vulkan=("subgroup8", "subgroup8-dot"),
    ),
    "bytes in the head": Recipe(
        TinySource(inner=90, layers=1), "q0f16", "int16", head="q8f16", vulkan=("subgroup8-dot",)
    ),
    "int8": Recipe(TinySource(hidden=100, layers=2, context=32, tied=False), "q4f16", "int8"),
}


# The families other than Llama; test_families.py has what is asked of them.
_QWEN2 = TinySource(
    hidden=100, inner=90, heads=6, kv_heads=2, head_dim=18, vocabulary=301, family="qwen2"
)
# Its heads are wider than the hidden size says.
_QWEN3 = replace(_QWEN2, hidden=60, tied=False, family="qwen3")
# Windows far below the context, of which prompts fill some chunks.
_WINDOW = {"sliding_window": 16}
_MISTRAL = TinySource(vocabulary=301, context=448, family="mistral", settings=_WINDOW)
_MIXED = {
    "layer_types": ["sliding_attention", "full_attention"],
    "attn_logit_softcapping": 3.0,
    "query_pre_attn_scalar": 25,
    "sliding_window": 70,
}
_PHI3 = replace(_QWEN2, heads=4, kv_heads=4, tied=False, family="phi3", settings=_WINDOW)
_GEMMA = replace(_QWEN2, layers=1, family="gemma", settings={"hidden_act": "gelu"})
GEMMA2 = {
    "hidden_activation": "gelu_pytorch_tanh",
    "attn_logit_softcapping": 4.0,
    "final_logit_softcapping": 12.0,
    "query_pre_attn_scalar": 30,
    "sliding_window": 40,
}
_GEMMA2 = replace(_QWEN2, tied=False, family="gemma2", settings=GEMMA2)
# With a cap on its logits, which Gemma 3 itself has not.
GEMMA3 = {
    "hidden_activation": "gelu_pytorch_tanh",
    "final_logit_softcapping": 12.0,
    "query_pre_attn_scalar": 30,
    "sliding_window": 40,
    "sliding_window_pattern": 2,
    "rope_local_base_freq": 500.0,
}
_GEMMA3 = replace(_QWEN2, family="gemma3_text", settings=GEMMA3, rope_scaling=LINEAR)
FAMILY_RECIPES = {
    "qwen2 halves": Recipe(replace(_QWEN2, tied=False, layers=1), "q0f16"),
    "qwen2 bytes": Recipe(replace(_QWEN2, layers=1), "q8f16", vulkan=("subgroup8",)),
    "qwen2 nibbles": Recipe(_QWEN2, *("q4f16", "int16"), vulkan=("subgroup8-dot",)),
    "qwen3 floats": Recipe(replace(_QWEN3, layers=1), "q0f32"),
    "qwen3 nibbles": Recipe(_QWEN3, *("q4f16", "int16"), vulkan=("subgroup8",)),
    "mistral floats": Recipe(replace(_MISTRAL, layers=1), "q0f32"),
    "mistral mixed": Recipe(
        replace(_MISTRAL, hidden=72, heads=6, head_dim=18, settings=_MIXED),
        *("q4f16", "int16"),
        vulkan=("subgroup8-dot",),
    ),
    "phi3 bytes": Recipe(replace(_PHI3, layers=1), "q8f16"),
    "gemma bytes": Recipe(_GEMMA, "q8f16"),
    "gemma2 floats": Recipe(_GEMMA2, "q0f32"),
    "gemma3 nibbles": Recipe(_GEMMA3, *("q4f16", "int16"), vulkan=("subgroup8-dot",)),
}

VULKAN_RECIPES = {name: recipe.vulkan for name, recipe in RECIPES.items() if recipe.vulkan}


def host_profiles() -> list[str]:
    """Return the profiles that this machine runs, the best first."""
    able = [profile for profile in PROFILES.values() if not missing_features(profile.name)]
    return [p.name for p in sorted(able, key=lambda p: p.preference, reverse=True)]


def builder(shared: Path) -> Build:
    """Return a function that gives the artifact of a recipe, compiled below `shared`."""

    def build(name: str) -> Path:
        output = shared / name.replace(" ", "-")
        with (shared / f"{output.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (output / "manifest.json").exists():
                recipe = {**RECIPES, **FAMILY_RECIPES}[name]
                _compile(recipe, shared / f"{output.name}-source", output)
        return output

    return build


def _compile(recipe: Recipe, folder: Path, output: Path) -> None:
    profiles = host_profiles()
    if not recipe.every_profile:
        profiles = profiles[:1]
    recipe.source.write(folder)
    with mock.patch.object(library, "DECODE_BATCHES", recipe.batches):
        compile_model(
            CompileOptions(
                folder,
                output,
                quantization=recipe.quantization,
                head_quantization=recipe.head or recipe.quantization,
                targets=(
                    *(f"cpu-{profile}" for profile in profiles),
                    *(f"vulkan-{tier}" for tier in recipe.vulkan),
                ),
                arithmetic=recipe.arithmetic,
            )
        )
