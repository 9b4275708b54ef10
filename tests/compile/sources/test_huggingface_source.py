"""Hugging Face folders and bare configs: what is read, and what is refused."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_source
from safetensors.numpy import save, save_file
from tokenizers import Tokenizer

from ferrylm.compile.sources import open_source
from ferrylm.errors import FerryError, SourceError, TokenizerError, UnsupportedModelError

CONFIG = tiny_source.CONFIG


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_source.write_huggingface(tmp_path / "Tiny-Llama")


def test_folder_gives_the_weights_that_were_saved(folder: Path) -> None:
    with open_source(folder) as source:
        assert (source.kind, source.name) == ("huggingface", "Tiny-Llama")
        expected = tiny_source.weights()
        assert set(source.tensors) == set(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(
                source.tensors[name].dequantize(), values, strict=True, err_msg=name
            )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_read_bit_by_bit(dtype: str, folder: Path) -> None:
    raw = {}
    data = b""
    for name, values in tiny_source.weights().items():
        bits = values.view("<u4") >> 16
        piece = (
            values.astype("<f2").tobytes() if dtype == "float16" else bits.astype("<u2").tobytes()
        )
        kind = {"float16": "F16", "bfloat16": "BF16"}[dtype]
        raw[name] = {
            "dtype": kind,
            "shape": list(values.shape),
            "data_offsets": [len(data), len(data) + len(piece)],
        }
        data += piece
    header = json.dumps(raw).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)
    with open_source(folder) as source:
        values = tiny_source.weights()["lm_head.weight"]
        expected = (
            values.astype(np.float16).astype(np.float32)
            if dtype == "float16"
            else (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
        )
        np.testing.assert_array_equal(source.tensors["lm_head.weight"].dequantize(), expected)


def _shard(folder: Path, change: Callable[[dict[str, str]], object] = lambda m: None) -> None:
    """Split the weights into two files with an index."""
    weights = list(tiny_source.weights().items())
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for index, part in enumerate((weights[:9], weights[9:]), 1):
        name = f"model-0000{index}-of-00002.safetensors"
        save_file(dict(part), folder / name)
        weight_map.update({tensor: name for tensor, _ in part})
    change(weight_map)
    tiny_source.write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})


def test_shards_are_put_together(folder: Path) -> None:
    _shard(folder)
    with open_source(folder) as source:
        assert set(source.tensors) == set(tiny_source.weights())
        np.testing.assert_array_equal(
            source.tensors["model.norm.weight"].dequantize(),
            tiny_source.weights()["model.norm.weight"],
        )


HOSTILE_NAMES = [
    "../secret.safetensors",
    "/etc/passwd",
    "..",
    ".",
    "",
    "sub/model.safetensors",
    "sub\\model.safetensors",
    "C:model.safetensors",
    "a\0b.safetensors",
    "a\nb.safetensors",
    "\u202emodel.safetensors",
    "x" * 5000,
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_of_shards_stay_in_the_folder(name: str, folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "secret.safetensors")
    _shard(folder, lambda weights: weights.update({"lm_head.weight": name}))
    with pytest.raises(SourceError) as caught:
        open_source(folder)
    if len(name) < 255:
        assert "same folder" in str(caught.value)


def test_an_index_that_names_a_tensor_its_file_lacks_is_refused(folder: Path) -> None:
    _shard(
        folder,
        lambda weights: (
            weights.update({"lm_head.weight": "model-00001-of-00002.safetensors"})
            or weights.update(
                {"model.layers.1.mlp.down_proj.weight": "model-00001-of-00002.safetensors"}
            )
        ),
    )
    with pytest.raises(SourceError, match="does not hold"):
        open_source(folder)


def test_links_into_a_cache_are_followed(folder: Path, tmp_path: Path) -> None:
    # The hub's cache keeps every file as a link into a folder of blobs.
    blob = tmp_path / "blob"
    (folder / "model.safetensors").rename(blob)
    (folder / "model.safetensors").symlink_to(blob)
    open_source(folder).close()


def test_a_folder_of_the_hubs_cache_is_called_as_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "models--owner--Tiny-3B" / "snapshots" / "0123abcd"
    folder.parent.mkdir(parents=True)
    with open_source(tiny_source.write_huggingface(folder)) as source:
        assert source.name == "Tiny-3B"


def test_bare_config_has_no_tensors_and_no_tokenizer(folder: Path) -> None:
    with open_source(folder / "config.json") as source:
        assert (source.kind, source.name) == ("config", "Tiny-Llama")
        assert not source.tensors
        assert source.tokenizer is None
        assert source.config["head_dim"] == 16


def test_tokenizer_settings_and_generation_defaults_are_read(folder: Path) -> None:
    with open_source(folder) as source:
        tokenizer = source.tokenizer
        assert tokenizer is not None
        assert tokenizer.eos_token_ids == (0, 2)
        assert tokenizer.bos_token_id == 0
        assert not tokenizer.add_bos
        assert tokenizer.chat_template == tiny_source.TEMPLATE
        assert tokenizer.special_tokens == {"bos_token": "<s>", "eos_token": "<|im_end|>"}
        assert Tokenizer.from_str(tokenizer.tokenizer_json).encode("hello").tokens == ["hello"]
        assert source.generation.temperature == 0.6


def test_add_bos_is_seen_from_what_the_tokenizer_does(folder: Path) -> None:
    post = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    }
    tiny_source.write_json(
        folder / "tokenizer.json", tiny_source.tokenizer_json(post_processor=post)
    )
    with open_source(folder) as source:
        assert source.tokenizer is not None
        assert source.tokenizer.add_bos


def test_truncation_and_padding_are_taken_out_of_the_tokenizer(folder: Path) -> None:
    truncation = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    document = tiny_source.tokenizer_json(truncation=truncation)
    tiny_source.write_json(folder / "tokenizer.json", document)
    with open_source(folder) as source:
        assert source.tokenizer is not None
        tokenizer = Tokenizer.from_str(source.tokenizer.tokenizer_json)
        assert len(tokenizer.encode("abcdef").ids) == 6


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ([{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}], "d"),
        ([{"name": "tool", "template": "t"}], None),
        (None, None),
    ],
)
def test_chat_template_of_the_settings(template: Any, expected: str | None, folder: Path) -> None:
    settings = {**tiny_source.TOKENIZER_CONFIG, "chat_template": template}
    tiny_source.write_json(folder / "tokenizer_config.json", settings)
    with open_source(folder) as source:
        assert source.tokenizer is not None
        assert source.tokenizer.chat_template == expected


def test_a_template_file_comes_before_the_settings(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("file", encoding="utf-8")
    with open_source(folder) as source:
        assert source.tokenizer is not None
        assert source.tokenizer.chat_template == "file"


CONFIG_VALUES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "absent key-value heads are all heads": (
        {"num_key_value_heads": None, "num_attention_heads": 4}, {"num_key_value_heads": 4}),
    "rope_parameters of transformers 5": (
        {"rope_theta": None, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
        {"rope_theta": 5e5, "rope_scaling": None}),
    "old name of the rope type": (
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "a sliding window that is switched off": (
        {"sliding_window": 4096, "use_sliding_window": False}, {"sliding_window": None}),
    "a window of which Qwen2 says nothing else": (
        {"model_type": "qwen2", "sliding_window": 4096}, {"sliding_window": None}),
    "a window that Qwen2 uses": (
        {"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": True},
        {"sliding_window": 4096}),
    "a sliding window": ({"sliding_window": 4096}, {"sliding_window": 4096}),
    "Qwen2 has biases": ({"model_type": "qwen2"}, {"attention_bias": True}),
    "an integer epsilon": ({"rms_norm_eps": 0}, {"rms_norm_eps": 0.0}),
    "unknown keys stay": ({"hidden_act": "silu"}, {"hidden_act": "silu"}),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(CONFIG_VALUES))
def test_config_is_normalized(case: str, tmp_path: Path) -> None:
    changes, expected = CONFIG_VALUES[case]
    path = tmp_path / "config.json"
    tiny_source.write_json(path, {**CONFIG, **changes})
    with open_source(path) as source:
        assert {key: source.config[key] for key in expected} == expected


BAD_CONFIGS: dict[str, tuple[Any, type[FerryError]]] = {
    "a list": ([], SourceError),
    "a number": (5, SourceError),
    "no model type": ({**CONFIG, "model_type": None}, SourceError),
    "a model type that is a list": ({**CONFIG, "model_type": ["llama"]}, SourceError),
    "a hidden size of 0": ({**CONFIG, "hidden_size": 0}, SourceError),
    "a hidden size of -1": ({**CONFIG, "hidden_size": -1}, SourceError),
    "a hidden size of true": ({**CONFIG, "hidden_size": True}, SourceError),
    "a hidden size of 64.0": ({**CONFIG, "hidden_size": 64.0}, SourceError),
    "a hidden size in quotes": ({**CONFIG, "hidden_size": "64"}, SourceError),
    "a huge vocabulary": ({**CONFIG, "vocab_size": 2**62}, SourceError),
    "a million layers": ({**CONFIG, "num_hidden_layers": 10**6}, SourceError),
    "more key-value heads than heads": ({**CONFIG, "num_key_value_heads": 8}, SourceError),
    "an odd head dimension": ({**CONFIG, "head_dim": 15}, SourceError),
    "a rope base of 0": ({**CONFIG, "rope_theta": 0}, SourceError),
    "a negative epsilon": ({**CONFIG, "rms_norm_eps": -1e-5}, SourceError),
    "a rope scaling that is a text": ({**CONFIG, "rope_scaling": "linear"}, SourceError),
    "a rope scaling without type": ({**CONFIG, "rope_scaling": {"factor": 2}}, SourceError),
    "a tie that is a number": ({**CONFIG, "tie_word_embeddings": 1}, SourceError),
    "a quantized checkpoint": (
        {**CONFIG, "quantization_config": {"quant_method": "gptq"}}, UnsupportedModelError),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(BAD_CONFIGS))
def test_config_is_refused_that_is(case: str, tmp_path: Path) -> None:
    value, error = BAD_CONFIGS[case]
    path = tmp_path / "config.json"
    tiny_source.write_json(path, value)
    with pytest.raises(error):
        open_source(path)


@pytest.mark.parametrize(
    "text", ["", "{", '{"a": NaN}', '{"a":1,"a":2}', "[" * 5000 + "]" * 5000, "\ufeff{}"]
)
def test_config_that_is_not_strict_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError):
        open_source(tmp_path / "config.json")


def _entry(dtype: str = "F32", shape: list[int] | None = None, begin: int = 0, end: int = 8) -> Any:
    return {"dtype": dtype, "shape": [2] if shape is None else shape, "data_offsets": [begin, end]}


BAD_HEADERS: dict[str, Any] = {
    "a list": [],
    "an entry that is a list": {"a": []},
    "an entry without shape": {"a": {"dtype": "F32", "data_offsets": [0, 8]}},
    "an entry with a fourth key": {"a": {**_entry(), "path": "../x"}},
    "an unknown dtype": {"a": _entry("F31")},
    "a dtype that is a list": {"a": {**_entry(), "dtype": ["F32"]}},
    "a negative size": {"a": _entry(shape=[-2])},
    "a size that is a float": {"a": _entry(shape=[2.0])},  # type: ignore[list-item]
    "a size that is true": {"a": _entry(shape=[True, 2])},
    "sizes whose product wraps": {"a": _entry(shape=[2**33, 2**31])},
    "a shape of another size than its bytes": {"a": _entry(shape=[3])},
    "offsets that run backwards": {"a": _entry(shape=[0], begin=8, end=0)},
    "offsets past the end": {"a": _entry(shape=[1 << 20], end=4 << 20)},
    "three offsets": {"a": {**_entry(), "data_offsets": [0, 4, 8]}},
    "a hole": {"a": _entry(shape=[1], begin=0, end=4), "b": _entry(shape=[1], begin=5, end=9)},
    "an overlap": {"a": _entry(), "b": _entry()},
    "bytes behind the last tensor": {"a": _entry(shape=[1], end=4)},
    "a shape of a thousand dimensions": {"a": _entry(shape=[1] * 1000, end=4)},
}


@pytest.mark.parametrize("case", sorted(BAD_HEADERS))
def test_safetensors_header_is_refused_with(case: str, folder: Path) -> None:
    header = json.dumps(BAD_HEADERS[case]).encode()
    raw = struct.pack("<Q", len(header)) + header + bytes(8)
    (folder / "model.safetensors").write_bytes(raw)
    with pytest.raises(SourceError) as caught:
        open_source(folder)
    assert type(caught.value) is SourceError
    assert "model.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 100 << 20) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 3) + b" {}",
        struct.pack("<Q", 2) + b"{",
        struct.pack("<Q", 40) + b'{"a":{"dtype":"F32"},"a":{"dtype":"F32"}}'[:40],
    ],
)
def test_safetensors_files_with_a_broken_frame_are_refused(raw: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(raw)
    with pytest.raises(SourceError):
        open_source(folder)


def test_a_tensor_listed_twice_is_refused(folder: Path) -> None:
    entry = json.dumps(_entry())
    header = f'{{"a":{entry},"a":{entry}}}'.encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(SourceError, match="twice"):
        open_source(folder)


@pytest.mark.parametrize(
    ("dtype", "shape"), [("int32", (2,)), ("float32", (2, 2, 2)), ("float64", (2,))]
)
def test_tensors_of_other_kinds_are_unsupported(
    dtype: str, shape: tuple[int, ...], folder: Path
) -> None:
    (folder / "model.safetensors").write_bytes(save({"odd": np.zeros(shape, dtype)}))
    with pytest.raises(UnsupportedModelError, match="odd"):
        open_source(folder)


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path: Path) -> None:
    folder = tiny_source.write_huggingface(tmp_path / "a", intermediate_size=128)
    with pytest.raises(SourceError, match=r"down_proj\.weight of shape \(64, 96\)"):
        open_source(folder)


def test_an_untied_model_without_head_is_refused(folder: Path) -> None:
    weights = tiny_source.weights()
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(SourceError, match=r"no tensor lm_head\.weight"):
        open_source(folder)
    tiny_source.write_json(folder / "config.json", {**CONFIG, "tie_word_embeddings": True})
    open_source(folder).close()


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_folder_without_a_needed_file_is_refused(missing: str, folder: Path) -> None:
    (folder / missing).unlink()
    with pytest.raises((SourceError, TokenizerError), match="without"):
        open_source(folder)


@pytest.mark.parametrize(
    ("file", "value", "error"),
    [
        ("tokenizer_config.json", {"bos_token": 5}, TokenizerError),
        ("tokenizer_config.json", [], TokenizerError),
        ("tokenizer_config.json", {"chat_template": 5}, TokenizerError),
        ("generation_config.json", {"eos_token_id": "2"}, SourceError),
        ("generation_config.json", {"eos_token_id": [5000]}, SourceError),
        ("generation_config.json", {"eos_token_id": [-1]}, SourceError),
        ("generation_config.json", {"temperature": "hot"}, SourceError),
        ("generation_config.json", {"temperature": -1}, SourceError),
        ("generation_config.json", {"top_k": 1.5}, SourceError),
        ("generation_config.json", {"top_p": 7}, SourceError),
    ],
)
def test_settings_of_another_type_are_refused(
    file: str, value: Any, error: type[FerryError], folder: Path
) -> None:
    tiny_source.write_json(folder / file, value)
    with pytest.raises(error):
        open_source(folder)


def test_tokenizer_with_ids_past_the_embedding_is_refused(folder: Path) -> None:
    document = tiny_source.tokenizer_json()
    document["model"]["vocab"]["extra"] = 5000
    tiny_source.write_json(folder / "tokenizer.json", document)
    with pytest.raises(TokenizerError, match="5000"):
        open_source(folder)
