"""Model sources: GGUF files, Hugging Face folders, MLC folders, bare config.json files."""

from __future__ import annotations

import os
from pathlib import Path

from ferrylm.compile.sources.files import WeightFile
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
        raise _no_model(f"no file or folder {path.name[:100]!r}")
    if path.is_dir():
        if (path / MLC_CONFIG).is_file():
            return open_mlc(path)
        if (path / "config.json").is_file():
            return open_huggingface(path)
        raise _no_model(f"the folder {path.name!r} without a config.json")
    if path.suffix == ".json":
        return open_config(path)
    if path.suffix == ".gguf" or _begins_as_gguf(path):
        return open_gguf(path)
    raise _no_model(f"the file {path.name!r}")


def _begins_as_gguf(path: Path) -> bool:
    """Tell by the first bytes: some model managers keep GGUF files under a hash for a name."""
    file = WeightFile(path)
    try:
        return file.size_bytes >= 4 and file.read(0, 4).tobytes() == b"GGUF"
    finally:
        file.close()


def _no_model(found: str) -> SourceError:
    return SourceError(
        found,
        wanted="a .gguf file, a Hugging Face or MLC folder, or a config.json",
        fix="check the path",
    )
