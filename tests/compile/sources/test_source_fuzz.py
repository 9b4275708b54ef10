"""Thousands of damaged model files: each is accepted or refused with an error of this package.

Everything is seeded, so a failure names a mutant that can be made again. Memory is limited, so
that a count which is believed shows as MemoryError, and a timer turns a hang into a failure.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import mlc_writer
import numpy as np
import pytest
import tiny_source
from gguf_builder import GgufFile, encoded_tensor
from mutations import damage_bytes, damage_gguf, damage_json
from safetensors.numpy import save

from ferrylm.compile.quantize import encode
from ferrylm.compile.sources import huggingface, mlc, open_source
from ferrylm.compile.sources.encodings import ENCODINGS
from ferrylm.compile.sources.tokenizer_check import check_tokenizer
from ferrylm.compile.sources.tokenizer_structure import check_structure
from ferrylm.errors import FerryError, TokenizerError
from ferrylm.runtime import strict_json

_HANG_SECONDS = 20
_SPARE_BYTES = 512 << 20


def _hangs(signal_number: int, frame: FrameType | None) -> None:
    raise AssertionError(f"a mutant took more than {_HANG_SECONDS} s")


@pytest.fixture(autouse=True)
def _limits() -> Iterator[None]:
    """Limit memory to a little more than now, and let a hang fail the test."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _SPARE_BYTES, hard))
    previous = signal.signal(signal.SIGALRM, _hangs)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def _mutant(seed: int) -> Iterator[None]:
    """Allow errors of this package only, and name the mutant of any other."""
    signal.alarm(_HANG_SECONDS)
    try:
        yield
    except FerryError:
        pass
    except BaseException as problem:
        raise AssertionError(f"mutant {seed}: {type(problem).__name__}: {problem}") from problem


def _use(path: Path) -> None:
    """Open a source and read all its weights, as a compile would."""
    with open_source(path) as source:
        for tensor in source.tensors.values():
            if len(tensor.shape) == 2:
                encode(tensor, "q4f16")
            else:
                tensor.dequantize()


def _mixed_gguf() -> GgufFile:
    """Make the tiny model with a tensor in each of several encodings."""
    file = tiny_source.gguf_file()
    random_bytes = np.random.default_rng(0)
    names = [tensor.name for tensor in file.tensors]
    for name, encoding in (
        ("token_embd.weight", "Q8_0"),
        ("blk.0.attn_q.weight", "Q4_0"),
        ("blk.0.attn_k.weight", "Q4_1"),
        ("blk.1.attn_output.weight", "Q5_0"),
        ("blk.1.ffn_down.weight", "Q5_1"),
    ):
        columns, rows = file.tensors[names.index(name)].dimensions
        raw = random_bytes.integers(0, 60, (rows, ENCODINGS[encoding].row_bytes(columns)), "u1")
        file.tensors[names.index(name)] = encoded_tensor(name, encoding, columns, raw)
    return file


def test_damaged_gguf_structures_give_typed_errors_only(tmp_path: Path) -> None:
    file, path = _mixed_gguf(), tmp_path / "model.gguf"
    for seed in range(700):
        path.write_bytes(damage_gguf(file, random.Random(seed)).to_bytes())
        with _mutant(seed):
            _use(path)


def test_damaged_gguf_bytes_give_typed_errors_only(tmp_path: Path) -> None:
    raw, path = _mixed_gguf().to_bytes(), tmp_path / "model.gguf"
    for seed in range(700):
        path.write_bytes(damage_bytes(raw, random.Random(seed), within=9000))
        with _mutant(seed):
            _use(path)


def test_damaged_sentencepiece_vocabularies_give_typed_errors_only(tmp_path: Path) -> None:
    golden = json.loads((Path(__file__).parent / "sentencepiece_ids.json").read_text("utf-8"))
    file = tiny_source.gguf_file(
        **{
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": golden["pieces"][: tiny_source.VOCAB],
            "tokenizer.ggml.scores": [float(x) for x in golden["scores"][: tiny_source.VOCAB]],
            "tokenizer.ggml.token_type": golden["kinds"][: tiny_source.VOCAB],
            "tokenizer.ggml.unknown_token_id": 0,
        }
    )
    file.metadata.sort(key=lambda entry: not entry[0].startswith("tokenizer"))
    path = tmp_path / "model.gguf"
    for seed in range(500):
        mutant = damage_gguf(file, random.Random(seed))
        path.write_bytes(mutant.to_bytes())
        with _mutant(seed):
            open_source(path).close()


@pytest.fixture
def no_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the tokenizer out, so that no child process is started for each mutant."""
    for module in (huggingface, mlc):
        monkeypatch.setattr(module, "read_tokenizer", lambda *files: None)


@pytest.mark.usefixtures("no_tokenizer")
def test_damaged_safetensors_give_typed_errors_only(tmp_path: Path) -> None:
    folder = tiny_source.write_huggingface(tmp_path / "model")
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    for seed in range(1000):
        chance = random.Random(seed)
        if chance.random() < 0.5:
            mutated = damage_json(header, chance)
            path.write_bytes(struct.pack("<Q", len(mutated)) + mutated + raw[8 + size :])
        else:
            path.write_bytes(damage_bytes(raw, chance, within=8 + size))
        with _mutant(seed):
            _use(folder)


def test_damaged_configs_give_typed_errors_only(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    document = {
        **tiny_source.CONFIG,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 32},
        "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"},
        "sliding_window": 64,
        "use_sliding_window": True,
    }
    for seed in range(1500):
        path.write_bytes(damage_json(document, random.Random(seed)))
        with _mutant(seed):
            _use(path)


@pytest.mark.usefixtures("no_tokenizer")
def test_damaged_mlc_folders_give_typed_errors_only(tmp_path: Path) -> None:
    mlc_writer.write_mlc(tmp_path)
    for name in ("tensor-cache.json", "mlc-chat-config.json"):
        path = tmp_path / name
        original = path.read_bytes()
        document = json.loads(original)
        for seed in range(500):
            path.write_bytes(damage_json(document, random.Random(seed)))
            with _mutant(seed):
                _use(tmp_path)
        path.write_bytes(original)


def _rich_tokenizer() -> dict[str, object]:
    """Make a tokenizer.json with every stage in use."""
    return tiny_source.tokenizer_json(
        normalizer={
            "type": "Sequence",
            "normalizers": [
                {"type": "NFC"},
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            ],
        },
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {
                    "type": "Split",
                    "pattern": {"Regex": r"\p{L}+|\s+(?!\S)|\s+"},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
            ],
        },
        post_processor={
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
        },
    )


def test_damaged_tokenizers_give_typed_errors_only() -> None:
    document = _rich_tokenizer()
    for seed in range(500):
        raw = damage_json(document, random.Random(seed))
        with _mutant(seed):
            value = strict_json.loads(raw, what="tokenizer.json", error=TokenizerError)
            check_tokenizer(json.dumps(check_structure(value)), ["<s>"], timeout_seconds=15)


def test_damaged_tokenizer_files_of_a_folder_give_typed_errors_only(tmp_path: Path) -> None:
    folder = tiny_source.write_huggingface(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(save(tiny_source.weights()))
    for name in ("tokenizer_config.json", "generation_config.json"):
        original = (folder / name).read_bytes()
        for seed in range(40):
            (folder / name).write_bytes(damage_json(json.loads(original), random.Random(seed)))
            with _mutant(seed):
                open_source(folder).close()
        (folder / name).write_bytes(original)
