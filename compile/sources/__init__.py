"""Model sources: GGUF files, Hugging Face folders, MLC folders, bare config.json files."""

from __future__ import annotations

import os
from pathlib import Path

from ferrylm.compile.sources.source import Source, SourceTensor, TokenizerFiles
from ferrylm.errors import SourceError

__all__ = ["Source", "SourceTensor", "TokenizerFiles", "open_source"]


def open_source(path: Path) -> Source:
    """Open a model by what its path is: a GGUF file, a model folder, or a bare config.json.

    A folder with mlc-chat-config.json is MLC's, one with config.json Hugging Face's. A bare
    config.json gives a source without tensors and tokenizer. Close the source after use.

    Raises SourceError for what is malformed or unreadable, UnsupportedModelError for a model of
    another kind, TokenizerError for a tokenizer that cannot be built.
    """
    from ferrylm.compile.sources.gguf import open_gguf
    from ferrylm.compile.sources.huggingface import open_config, open_huggingface
    from ferrylm.compile.sources.mlc import MLC_CONFIG, open_mlc

    path = Path(path)
    if "\0" in str(path) or not os.path.lexists(path):
        raise _no_model(path, f"no file or folder {path.name!r}")
    if path.is_dir():
        if (path / MLC_CONFIG).is_file():
            return open_mlc(path)
        if (path / "config.json").is_file():
            return open_huggingface(path)
        raise _no_model(path, f"the folder {path.name!r} without a config.json")
    if path.suffix == ".gguf":
        return open_gguf(path)
    if path.suffix == ".json":
        return open_config(path)
    raise _no_model(path, f"the file {path.name!r}")


def _no_model(path: Path, found: str) -> SourceError:
    return SourceError(
        found,
        wanted="a .gguf file, a Hugging Face or MLC folder, or a config.json",
        fix="check the path",
    )
