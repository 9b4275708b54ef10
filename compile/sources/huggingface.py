"""Open a Hugging Face model folder, or a bare config.json, as a model source."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from ferrylm.compile.sources.config import bias_flags, normalize_config
from ferrylm.compile.sources.files import WeightFile, read_file
from ferrylm.compile.sources.generation import generation_defaults
from ferrylm.compile.sources.huggingface_tokenizer import read_tokenizer
from ferrylm.compile.sources.names import model_name
from ferrylm.compile.sources.safetensors import read_safetensors
from ferrylm.compile.sources.shapes import check_shapes
from ferrylm.compile.sources.source import Source, SourceTensor
from ferrylm.errors import SourceError, UnsupportedModelError
from ferrylm.runtime import strict_json
from ferrylm.runtime.manifest import GenerationDefaults

CONFIG = "config.json"
_GENERATION = "generation_config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_MAX_CONFIG_BYTES = 4 << 20
_MAX_INDEX_BYTES = 32 << 20
_MAX_SHARDS = 1024


def open_config(path: Path) -> Source:
    """Open a bare config.json: a source without tensors and tokenizer."""
    config = normalize_config(_supported(read_object(path)), path.name)
    name = model_name(path.resolve().parent) if path.name == CONFIG else model_name(path)
    return Source("config", name, config, {}, None, GenerationDefaults())


def open_huggingface(folder: Path) -> Source:
    """Open a folder of config.json, safetensors files and tokenizer.json.

    Raises SourceError, UnsupportedModelError or TokenizerError.
    """
    raw = _supported(read_object(folder / CONFIG))
    with ExitStack() as stack:
        tensors = _open_tensors(folder, stack)
        config = normalize_config({**raw, **bias_flags(tensors)}, CONFIG)
        check_shapes(config, tensors, folder.name)
        generation = folder / _GENERATION
        settings = read_object(generation) if generation.is_file() else {}
        return Source(
            kind="huggingface",
            name=model_name(folder),
            config=config,
            tensors=tensors,
            tokenizer=read_tokenizer(folder, config, settings),
            generation=generation_defaults(settings, _GENERATION),
            on_close=stack.pop_all().close,
        )


def read_object(path: Path, max_bytes: int = _MAX_CONFIG_BYTES) -> dict[str, object]:
    """Read a JSON file that holds one object. Raises SourceError."""
    data = read_file(path, max_bytes)
    value = strict_json.loads(data, what=path.name, error=SourceError, max_bytes=max_bytes)
    if type(value) is not dict:
        raise SourceError(
            f"{path.name} that is no JSON object",
            wanted="an object of named values",
            fix="fetch the file again",
        )
    return dict(value)


def _supported(raw: dict[str, object]) -> dict[str, object]:
    if raw.get("quantization_config") is not None:
        raise UnsupportedModelError(
            f"{CONFIG} with a quantization_config",
            wanted="weights in F32, F16 or BF16",
            fix="use the unquantized checkpoint, or a GGUF file",
        )
    return raw


def _open_tensors(folder: Path, stack: ExitStack) -> dict[str, SourceTensor]:
    if (folder / _WEIGHTS).is_file():
        return _open_shard(folder / _WEIGHTS, stack)
    if (folder / _INDEX).is_file():
        return _open_shards(folder, stack)
    raise SourceError(
        f"the folder {folder.name!r} without {_WEIGHTS} or {_INDEX}",
        wanted="weights as safetensors",
        fix="convert other weights to safetensors, or give the config.json alone to compile "
        "without weights",
    )


def _open_shard(path: Path, stack: ExitStack) -> dict[str, SourceTensor]:
    file = WeightFile(path)
    stack.callback(file.close)
    return read_safetensors(file)


def _open_shards(folder: Path, stack: ExitStack) -> dict[str, SourceTensor]:
    weight_map = read_object(folder / _INDEX, _MAX_INDEX_BYTES).get("weight_map")
    if type(weight_map) is not dict or not all(type(v) is str for v in weight_map.values()):
        raise _bad_index("no weight_map of tensor names to file names")
    names = sorted(set(weight_map.values()))
    if len(names) > _MAX_SHARDS:
        raise _bad_index(f"{len(names)} files, more than {_MAX_SHARDS}")
    shards: dict[str, dict[str, SourceTensor]] = {}
    for name in names:
        shards[name] = _open_shard(folder / plain_file_name(name, _INDEX), stack)
    tensors: dict[str, SourceTensor] = {}
    for tensor, shard in weight_map.items():
        if tensor not in shards[shard]:
            raise _bad_index(f"tensor {ascii(tensor)[:100]} that {shard!a} does not hold")
        tensors[tensor] = shards[shard][tensor]
    return tensors


def plain_file_name(name: str, what: str) -> str:
    """Return a file name from a source's index if it stays in its folder, else SourceError."""
    if name in ("", ".", "..") or not name.isprintable() or set("/\\:") & set(name):
        raise SourceError(
            f"{what} that names the file {ascii(name)[:100]}",
            wanted="plain names of files in the same folder",
            fix="do not use this model: its index points elsewhere",
        )
    return name


def _bad_index(found: str) -> SourceError:
    return SourceError(
        f"{_INDEX} with {found}", wanted="the index of the folder's files", fix="fetch it again"
    )
