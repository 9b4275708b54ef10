"""GGUF files that are wrong in one place each: refused with a typed error that names the place."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_source
from gguf_builder import (
    ARRAY,
    BOOL,
    F32,
    I32,
    STRING,
    U8,
    U32,
    U64,
    GgufFile,
    GgufTensor,
    Typed,
    string,
    strings,
)

from ferrylm.compile.sources import open_source
from ferrylm.errors import FerryError, SourceError, TokenizerError, UnsupportedModelError

Change = Callable[[GgufFile], object]


def _attribute(**values: object) -> Change:
    def change(file: GgufFile) -> None:
        for name, value in values.items():
            setattr(file, name, value)

    return change


def _metadata(key: str, value: Typed | None) -> Change:
    """Replace or add a metadata entry, or take it out."""

    def change(file: GgufFile) -> None:
        file.metadata = [entry for entry in file.metadata if entry[0] != key]
        if value is not None:
            file.metadata.append((key, value))

    return change


def _tensor(index: int = 0, **values: object) -> Change:
    def change(file: GgufFile) -> None:
        fields = {**vars(file.tensors[index]), **values}
        file.tensors[index] = GgufTensor(**fields)

    return change


def _also_metadata(key: str, value: Typed) -> Change:
    return lambda file: file.metadata.append((key, value))


def _also_tensor(name: str, *dimensions: int) -> Change:
    count = 1
    for dimension in dimensions:
        count *= dimension
    return lambda file: file.tensors.append(GgufTensor(name, dimensions, 0, bytes(4 * count)))


def _u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def _array(element_kind: int, count: int, data: bytes = b"") -> Typed:
    return Typed(ARRAY, struct.pack("<I", element_kind) + _u64(count) + data)


HUGE = 2**63 - 1
TOKENS = "tokenizer.ggml.tokens"
COUNT = len(tiny_source.TOKENS)

# What is wrong -> (change, error, words of the message).
FORMAT_CASES: dict[str, tuple[Change, type[FerryError], str]] = {
    "another magic number": (_attribute(magic=b"GGML"), SourceError, "GGML"),
    "an empty magic number": (_attribute(magic=b"\0\0\0\0"), SourceError, "begins with"),
    "version 0": (_attribute(version=0), UnsupportedModelError, "version 0"),
    "version 1": (_attribute(version=1), UnsupportedModelError, "version 1"),
    "version 4": (_attribute(version=4), UnsupportedModelError, "version 4"),
    "big endian": (_attribute(version=3 << 24), UnsupportedModelError, "big endian"),
    "2^63 tensors": (_attribute(tensor_count=2**63), SourceError, "tensors"),
    "more tensors than listed": (_attribute(tensor_count=100), SourceError, ""),
    "2^64-1 keys": (_attribute(key_count=2**64 - 1), SourceError, "metadata keys"),
    "more keys than listed": (_attribute(key_count=60), SourceError, ""),
    "an empty key": (_also_metadata("", Typed(U32, 1)), SourceError, "empty"),
    "a key twice": (
        _also_metadata("llama.block_count", Typed(U32, 2)), SourceError, "comes twice"),
    "a key of 70,000 bytes": (_also_metadata("k" * 70000, Typed(U32, 1)), SourceError, "65535"),
    "an unknown value type": (_also_metadata("x", Typed(99, b"\0" * 8)), SourceError, "type 99"),
    "value type 13": (_also_metadata("x", Typed(13, b"\0" * 8)), SourceError, "type 13"),
    "a truth value of 2": (_also_metadata("x", Typed(BOOL, 2)), SourceError, "truth value"),
    "truth values of 255": (
        _also_metadata("x", _array(BOOL, 2, b"\xff\x01")), SourceError, "truth value"),
    "a string longer than the file": (
        _also_metadata("x", Typed(STRING, _u64(1 << 40))), SourceError, "left"),
    "a string of 2^64-1 bytes": (
        _also_metadata("x", Typed(STRING, _u64(2**64 - 1))), SourceError, "left"),
    "a string that is not UTF-8": (
        _also_metadata("x", Typed(STRING, string(b"\xff\xfe"))), SourceError, "not UTF-8"),
    "a surrogate in UTF-8": (
        _also_metadata("x", Typed(STRING, string(b"\xed\xa0\x80"))), SourceError, "not UTF-8"),
    "an array of 2^63-1 bytes": (_also_metadata("x", _array(U8, HUGE)), SourceError, "elements"),
    "an array of 2^63-1 strings": (
        _also_metadata("x", _array(STRING, HUGE)), SourceError, "strings"),
    "an array whose size wraps": (
        _also_metadata("x", _array(U64, 2**61 + 1)), SourceError, "elements"),
    "an array of arrays": (
        _also_metadata("x", _array(ARRAY, 1, _array(U8, 0).value)), SourceError, "type 9"),
    "an array of an unknown type": (_also_metadata("x", _array(77, 1)), SourceError, "type 77"),
    "an alignment of 0": (_metadata("general.alignment", Typed(U32, 0)), SourceError, "alignment"),
    "an alignment of 24": (
        _metadata("general.alignment", Typed(U32, 24)), SourceError, "no power of two"),
    "an alignment of 2^31": (
        _metadata("general.alignment", Typed(U32, 1 << 31)), SourceError, "alignment"),
    "an alignment that is a text": (
        _metadata("general.alignment", Typed(STRING, "32")), SourceError, "alignment"),
    "a tensor without name": (_tensor(name=""), SourceError, "''"),
    "a tensor name of 65 bytes": (_tensor(name="x" * 65), SourceError, "64"),
    "a tensor name twice": (_tensor(1, name="token_embd.weight"), SourceError, "one name"),
    "no dimension": (_tensor(dimensions=()), SourceError, "0 dimensions"),
    "five dimensions": (_tensor(dimensions=(64, 288, 1, 1, 1)), SourceError, "5 dimensions"),
    "a dimension of 0": (_tensor(dimensions=(64, 0)), SourceError, "dimensions"),
    "a dimension of 2^63": (_tensor(dimensions=(2**63, 2)), SourceError, "at offset"),
    "dimensions whose product wraps to 0": (
        _tensor(dimensions=(2**32, 2**32)), SourceError, "at offset"),
    "dimensions whose product wraps to the true size": (
        _tensor(dimensions=(64, 288 + 2**58)), SourceError, "at offset"),
    "an unknown tensor type": (_tensor(type_number=250), UnsupportedModelError, "number 250"),
    "a tensor type without decoder": (_tensor(type_number=20), UnsupportedModelError, "IQ4_NL"),
    "a removed tensor type": (_tensor(type_number=4), UnsupportedModelError, "number 4"),
    "rows that are no whole blocks": (
        _tensor(dimensions=(48, 288), type_number=2), SourceError, "Q4_0"),
    "an offset past the end": (_tensor(offset=1 << 40), SourceError, "at offset"),
    "an offset that wraps": (_tensor(offset=2**64 - 32), SourceError, "at offset"),
    "an offset that is not aligned": (_tensor(offset=4), SourceError, "aligned"),
    "two tensors that overlap": (_tensor(1, offset=0), SourceError, "overlap"),
    "data cut by a byte": (_attribute(cut_bytes=1), SourceError, "at offset"),
    "data cut by half": (_attribute(cut_bytes=100000), SourceError, "at offset"),
}  # fmt: skip

MODEL_CASES: dict[str, tuple[Change, type[FerryError], str]] = {
    "no architecture": (_metadata("general.architecture", None), SourceError, "architecture"),
    "an architecture that is a number": (
        _metadata("general.architecture", Typed(U32, 1)), SourceError, "architecture"),
    "an unknown architecture": (
        _metadata("general.architecture", Typed(STRING, "mamba")), UnsupportedModelError, "mamba"),
    "a part of a model": (
        _metadata("split.count", Typed(U32, 3)), UnsupportedModelError, "3 parts"),
    "a mixture of experts": (
        _metadata("llama.expert_count", Typed(U32, 8)), UnsupportedModelError, "experts"),
    "an unknown rope scaling": (
        _metadata("llama.rope.scaling.type", Typed(STRING, "longrope")),
        UnsupportedModelError, "longrope"),
    "zero layers": (_metadata("llama.block_count", Typed(U32, 0)), SourceError, "block_count"),
    "a billion layers": (
        _metadata("llama.block_count", Typed(U32, 10**9)), SourceError, "num_hidden_layers"),
    "more layers than tensors": (
        _metadata("llama.block_count", Typed(U32, 4000)), SourceError, "4000 layers"),
    "a layer too many": (
        _metadata("llama.block_count", Typed(U32, 3)), SourceError, "model.layers.2"),
    "a layer too few": (
        _metadata("llama.block_count", Typed(U32, 1)), SourceError, "model.layers.1"),
    "zero heads": (_metadata("llama.attention.head_count", Typed(U32, 0)), SourceError, "head"),
    "heads that do not divide": (
        _metadata("llama.attention.head_count_kv", Typed(U32, 3)), SourceError, "3 key-value"),
    "heads per layer": (
        _metadata("llama.attention.head_count_kv", Typed(ARRAY, [2, 2], I32)), SourceError,
        "an array of 2"),
    "partial rotation": (
        _metadata("llama.rope.dimension_count", Typed(U32, 8)), UnsupportedModelError, "rope"),
    "a hidden size that is not the tensors'": (
        _metadata("llama.embedding_length", Typed(U32, 66)), SourceError, "66"),
    "an inner size that is not the tensors'": (
        _metadata("llama.feed_forward_length", Typed(U32, 97)), SourceError, "97"),
    "an epsilon that is no number": (
        _metadata("llama.attention.layer_norm_rms_epsilon", Typed(F32, float("nan"))),
        SourceError, "epsilon"),
    "a rope base of infinity": (
        _metadata("llama.rope.freq_base", Typed(F32, float("inf"))), SourceError, "freq_base"),
    "a tensor of another model": (
        _also_tensor("blk.0.ssm_a.weight", 8), UnsupportedModelError, "ssm_a"),
    "a tensor of three dimensions": (
        _also_tensor("blk.0.attn_q_norm.weight", 4, 4, 2), UnsupportedModelError, "3 dimensions"),
    "a layer number with a leading zero": (
        _also_tensor("blk.00.attn_norm.weight", 64), UnsupportedModelError, "blk.00"),
    "a tensor of a layer that does not exist": (
        _also_tensor("blk.7.attn_norm.weight", 64), SourceError, "model.layers.7"),
    "no embedding": (lambda file: file.tensors.pop(0), SourceError, "token_embd"),
    "rope factors of 0": (
        _also_tensor("rope_freqs.weight", 8), SourceError, "rope_freqs"),
    "a vector in Q4_0": (
        lambda file: file.tensors.append(
            GgufTensor("blk.0.attn_q.bias", (64,), 2, bytes(36))), SourceError, "Q4_0"),
}  # fmt: skip

TOKENIZER_CASES: dict[str, tuple[Change, type[FerryError], str]] = {
    "an unknown tokenizer": (
        _metadata("tokenizer.ggml.model", Typed(STRING, "rwkv")), UnsupportedModelError, "rwkv"),
    "an unknown pre-tokenizer": (
        _metadata("tokenizer.ggml.pre", Typed(STRING, "viking")), UnsupportedModelError, "viking"),
    "no tokens": (_metadata(TOKENS, None), SourceError, "tokens"),
    "an empty token list": (_metadata(TOKENS, strings([])), TokenizerError, "0 tokens"),
    "tokens that are numbers": (_metadata(TOKENS, _array(U8, 4, b"abcd")), SourceError, "tokens"),
    "more tokens than rows": (
        _metadata(TOKENS, strings([f"t{i}" for i in range(300)])), TokenizerError, "300 tokens"),
    "a token twice": (
        _metadata(TOKENS, strings([*tiny_source.TOKENS[:-1], "a"])), TokenizerError, "one text"),
    "an empty token": (
        _metadata(TOKENS, strings([*tiny_source.TOKENS[:-1], ""])), TokenizerError, "empty"),
    "too few token types": (
        _metadata("tokenizer.ggml.token_type", Typed(ARRAY, [1], I32)), TokenizerError, "types"),
    "an unknown token type": (
        _metadata("tokenizer.ggml.token_type", Typed(ARRAY, [9] * COUNT, I32)),
        TokenizerError, "types"),
    "token types that are floats": (
        _metadata("tokenizer.ggml.token_type", Typed(ARRAY, [1.0] * COUNT, F32)),
        SourceError, "token_type"),
    "a merge of unknown tokens": (
        _metadata("tokenizer.ggml.merges", strings(["q qq"])), TokenizerError, "merge"),
    "a merge without a space": (
        _metadata("tokenizer.ggml.merges", strings(["ab"])), TokenizerError, "merge"),
    "a merge longer than any token": (
        _metadata("tokenizer.ggml.merges", strings(["h " + "e" * 1000])), TokenizerError, "merge"),
    "a bos id past the vocabulary": (
        _metadata("tokenizer.ggml.bos_token_id", Typed(U32, COUNT)), SourceError, "bos_token_id"),
    "an eos id of -1": (
        _metadata("tokenizer.ggml.eos_token_id", Typed(I32, -1)), SourceError, "eos_token_id"),
    "a flag that is a number": (
        _metadata("tokenizer.ggml.add_bos_token", Typed(U32, 1)), SourceError, "add_bos"),
    "a template that is a number": (
        _metadata("tokenizer.chat_template", Typed(U32, 1)), SourceError, "chat_template"),
    "scores that are bytes": (
        lambda file: (
            _metadata("tokenizer.ggml.model", Typed(STRING, "llama"))(file),
            _metadata("tokenizer.ggml.scores", _array(U8, COUNT, bytes(COUNT)))(file),
        ),
        SourceError, "scores"),
    "too few scores": (
        lambda file: (
            _metadata("tokenizer.ggml.model", Typed(STRING, "llama"))(file),
            _metadata("tokenizer.ggml.scores", Typed(ARRAY, [0.0], F32))(file),
        ),
        TokenizerError, "1 scores"),
}  # fmt: skip

CASES = {**FORMAT_CASES, **MODEL_CASES, **TOKENIZER_CASES}


@pytest.mark.parametrize("case", sorted(CASES))
def test_gguf_file_is_refused_with(case: str, tmp_path: Path) -> None:
    change, error, words = CASES[case]
    file = tiny_source.gguf_file()
    change(file)
    path = tmp_path / "model.gguf"
    path.write_bytes(file.to_bytes())
    with pytest.raises(error) as caught:
        open_source(path)
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_the_unchanged_file_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_source.gguf_file().to_bytes())
    open_source(path).close()


def test_49_bytes_with_an_endless_array_are_refused_without_allocating(tmp_path: Path) -> None:
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string(b"k") + struct.pack("<I", ARRAY)
    raw = head + struct.pack("<IQ", U8, HUGE)
    path = tmp_path / "bomb.gguf"
    path.write_bytes(raw)
    assert len(raw) == 49
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="elements of k"):
            open_source(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 1, 4, 7, 8, 23, 24])
def test_gguf_file_cut_within_its_first_bytes_is_refused(size: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny_source.gguf_file().to_bytes()[:size])
    with pytest.raises(SourceError):
        open_source(path)


def test_gguf_file_cut_at_any_byte_of_its_header_is_refused(tmp_path: Path) -> None:
    whole = tiny_source.gguf_file().to_bytes()
    path = tmp_path / "cut.gguf"
    for size in range(0, 9000, 61):
        path.write_bytes(whole[:size])
        with pytest.raises(SourceError):
            open_source(path)


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    os.mkfifo(path)
    with pytest.raises(SourceError, match="regular file"):
        open_source(path)


def test_a_file_that_shrinks_after_opening_gives_an_error_and_no_signal(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_source.gguf_file().to_bytes())
    with open_source(path) as source:
        os.truncate(path, 20000)
        with pytest.raises(SourceError, match="shorter"):
            source.tensors["lm_head.weight"].dequantize()


def test_a_refused_file_is_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_source.gguf_file().to_bytes()[:5000])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(SourceError):
            open_source(path)
    assert len(os.listdir("/proc/self/fd")) == before
