"""Compare the tokens that a GPU draws with those that the host draws, and time both.

usage: python scripts/check_draws.py ARTIFACT [--device cuda] [--tokens 200] [--prompt 64]

Both take the same uniform numbers, so tokens are the same, unless one falls within float32's
rounding of the boundary between two tokens: then the rest of that answer differs, and is no error
of a sampled answer. Exit status 1 says that a greedy answer differed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import Engine, open_engine
from ferrylm.runtime.manifest import GenerationDefaults
from ferrylm.runtime.sampler import Sampler
from ferrylm.runtime.sampling_options import SamplingOptions, resolve_options

CASES: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "greedy, penalties": {
        "temperature": 0.0, "repetition_penalty": 1.2, "presence_penalty": 0.3,
        "frequency_penalty": 0.2,
    },
    "temperature 1": {"temperature": 1.0},
    "top-k 40": {"temperature": 0.8, "top_k": 40},
    "top-p 0.95": {"temperature": 0.7, "top_p": 0.95},
    "min-p 0.05": {"temperature": 1.0, "min_p": 0.05},
    "all of them": {
        "temperature": 0.9, "top_k": 50, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.1,
    },
}  # fmt: skip


def answer(
    engine: Engine, prompt: Any, options: SamplingOptions, tokens: int, *, on_device: bool
) -> tuple[list[int], float]:
    """Return the tokens of an answer and the microseconds for each after the first."""
    settings = resolve_options(options, GenerationDefaults(), engine.vocab_size)
    sampler = Sampler(settings, engine.vocab_size, prompt.tolist())
    sequence = engine.open_sequence()
    ids = [sampler.draw(engine.prefill(sequence, prompt)).token_id]
    draws = sampler.on_device(ids[0], tokens - 1) if on_device else None
    began_s = time.perf_counter()
    if draws is not None:
        engine.begin_drawing(sequence, draws)
        for _ in range(tokens - 1):
            ids.append(sampler.accept(engine.next_reports([sequence])[0]).token_id)
    else:
        for _ in range(tokens - 1):
            logits = engine.decode([sequence], np.array(ids[-1:], np.int32))[0]
            ids.append(sampler.draw(logits).token_id)
    passed_s = time.perf_counter() - began_s
    engine.close_sequence(sequence)
    return ids, passed_s * 1e6 / max(tokens - 1, 1)


def compare(engine: Engine, tokens: int, prompt_tokens: int) -> bool:
    """Print a line for each case; return whether greedy answers are equal."""
    random = np.random.default_rng(0)
    prompt = random.integers(0, engine.vocab_size, prompt_tokens, dtype=np.int32)
    well = True
    for name, changes in CASES.items():
        options = SamplingOptions(seed=7, **changes)
        answer(engine, prompt, options, min(tokens, 8), on_device=True)  # records the step
        drawn, device_us = answer(engine, prompt, options, tokens, on_device=True)
        wanted, host_us = answer(engine, prompt, options, tokens, on_device=False)
        same = next((i for i in range(tokens) if drawn[i] != wanted[i]), tokens)
        well = well and (same == tokens or changes["temperature"] > 0)
        print(
            f"{name:18} {same} of {tokens} tokens the same, {len(set(drawn))} different ones; "
            f"{device_us:.0f} us a token on the device, {host_us:.0f} with the host's draws"
        )
    found = engine.ahead_statistics
    if found is not None:
        print(f"{found.steps} steps launched, {found.starved} of them onto an idle device")
    return well


def main() -> int:
    """Compare, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--target")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--prompt", type=int, default=64)
    options = parser.parse_args()
    with Artifact.open(options.artifact) as opened:
        engine = open_engine(opened, device=options.device, target=options.target)
    if not engine.draws:
        raise SystemExit(f"the library {engine.library.target} leaves draws to the host")
    print(engine.backend.description)
    well = compare(engine, options.tokens, options.prompt)
    engine.close()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
