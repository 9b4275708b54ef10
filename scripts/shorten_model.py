"""Write a model's first layers and first tokens as a model of its own, with its real weights.

usage: python scripts/shorten_model.py MODEL FOLDER --layers N --tokens N

Such a model says nothing sensible, but what its kernels compute is as hard to get right, and it
is small enough to travel to a machine with a GPU (scripts/measure_loss.py --stored). FOLDER
becomes a Hugging Face folder in float16. Byte-level BPE tokenizers only: their first tokens are a
tokenizer, too.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from ferrylm.compile.sources import open_source
from ferrylm.compile.sources.source import Source
from ferrylm.errors import FerryError, UsageError

_LAYER = re.compile(r"model\.layers\.(\d+)\.")
_BY_TOKEN = ("model.embed_tokens.weight", "lm_head.weight")


def shorten(source: Source, folder: Path, layers: int, tokens: int) -> None:
    """Write the folder. Raises UsageError for more layers or tokens than there are."""
    config = dict(source.config)
    for key, asked in (("num_hidden_layers", layers), ("vocab_size", tokens)):
        there = config[key]
        if not isinstance(there, int) or not 0 < asked <= there:
            raise UsageError(f"{key} = {asked}", wanted=f"1 to {there}", fix="choose fewer")
        config[key] = asked
    if source.tokenizer is None:
        raise UsageError(f"{source.name} has no tokenizer", wanted="one", fix="name another model")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, tensor in source.tensors.items():
        match = _LAYER.match(name)
        if match is None or int(match[1]) < layers:
            stop = tokens if name in _BY_TOKEN else None
            tensors[name] = tensor.dequantize(0, stop).astype(np.float16)
    save_file(tensors, folder / "model.safetensors")
    config["torch_dtype"] = "float16"
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    tokenizer = short_tokenizer(json.loads(source.tokenizer.tokenizer_json), tokens)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def short_tokenizer(tokenizer: dict[str, Any], tokens: int) -> dict[str, Any]:
    """Return a tokenizer of the first tokens. Raises UsageError for one that is no BPE."""
    model = tokenizer["model"]
    if model.get("type") != "BPE":
        raise UsageError(
            f"a tokenizer of the type {model.get('type')!r}", wanted="BPE", fix="name another model"
        )
    vocabulary = {token: index for token, index in model["vocab"].items() if index < tokens}
    pairs = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    merges = [
        [left, right]
        for left, right in pairs
        if left in vocabulary and right in vocabulary and left + right in vocabulary
    ]
    added = [one for one in tokenizer.get("added_tokens", []) if one["id"] < tokens]
    short = {**model, "vocab": vocabulary, "merges": merges}
    return {**tokenizer, "model": short, "added_tokens": added}


def main() -> int:
    """Write the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    options = parser.parse_args()
    try:
        with open_source(options.model) as source:
            shorten(source, options.folder, options.layers, options.tokens)
    except FerryError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
