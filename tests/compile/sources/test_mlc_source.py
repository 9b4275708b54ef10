"""MLC folders: unfused, lossless, and refused where TVM's own reader would read out of bounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlc_writer
import numpy as np
import pytest
import tiny_source

from ferrylm.compile.quantize import decode, encode
from ferrylm.compile.sources import open_source
from ferrylm.errors import SourceError, UnsupportedModelError
from ferrylm.relax_models.config import model_config

Json = dict[str, Any]


def _unfused(meaning: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cut the fused matrices where Hugging Face's shapes say."""
    result: dict[str, np.ndarray] = {}
    shapes = {name: values.shape for name, values in tiny_source.weights().items()}
    for name, values in meaning.items():
        fused = next((key for key in mlc_writer.FUSED if key in name), None)
        parts = (
            [name]
            if fused is None
            else [name.replace(fused, part) for part in mlc_writer.FUSED[fused]]
        )
        first = 0
        for part in parts:
            result[part] = values[first : first + shapes[part][0]]
            first += shapes[part][0]
    return result


@pytest.mark.parametrize("quantization", ["q4f16_1", "q4f32_1", "q0f16", "q0f32"])
def test_weights_mean_what_mlc_says(quantization: str, tmp_path: Path) -> None:
    meaning = _unfused(mlc_writer.write_mlc(tmp_path, quantization))
    with open_source(tmp_path) as source:
        assert source.kind == "mlc"
        assert set(source.tensors) == set(meaning)
        for name, values in meaning.items():
            np.testing.assert_array_equal(
                source.tensors[name].dequantize(), values, strict=True, err_msg=name
            )


def test_qwen2s_projection_and_its_bias_are_cut_alike(tmp_path: Path) -> None:
    meaning = mlc_writer.write_mlc(tmp_path, family="qwen2")
    with open_source(tmp_path) as source:
        assert model_config(source.config).qkv_bias
        for kind in ("weight", "bias"):
            names = [f"model.layers.1.self_attn.{part}_proj.{kind}" for part in "qkv"]
            found = np.concatenate([source.tensors[name].dequantize() for name in names])
            np.testing.assert_array_equal(
                found, meaning[f"model.layers.1.self_attn.c_attn.{kind}"], strict=True
            )


def test_qwen3s_norms_of_heads_are_kept(tmp_path: Path) -> None:
    meaning = mlc_writer.write_mlc(tmp_path, family="qwen3")
    with open_source(tmp_path) as source:
        assert model_config(source.config).head_norm
        for name in (f"model.layers.1.self_attn.{part}_norm.weight" for part in "qk"):
            np.testing.assert_array_equal(source.tensors[name].dequantize(), meaning[name])
        rows = [source.tensors[f"model.layers.1.self_attn.{p}_proj.weight"] for p in "qkv"]
        found = np.concatenate([part.dequantize() for part in rows])
        np.testing.assert_array_equal(found, meaning["model.layers.1.self_attn.c_attn.weight"])


def test_q4f16_1_becomes_canonical_q4_without_loss(tmp_path: Path) -> None:
    meaning = _unfused(mlc_writer.write_mlc(tmp_path))
    with open_source(tmp_path) as source:
        names = [f"model.layers.1.self_attn.{part}_proj.weight" for part in "qkv"]
        arrays = encode([source.tensors[name] for name in names], "q4f16")
        expected = np.concatenate([meaning[name] for name in names])
        np.testing.assert_array_equal(decode(arrays, "q4f16", 64), expected)
        assert "minimum" not in arrays


def test_older_name_of_the_list_is_read(tmp_path: Path) -> None:
    mlc_writer.write_mlc(tmp_path, cache_name="ndarray-cache.json")
    open_source(tmp_path).close()


def test_config_and_settings_are_translated(tmp_path: Path) -> None:
    mlc_writer.write_mlc(tmp_path)
    with open_source(tmp_path) as source:
        assert source.config["rope_theta"] == 10000.0
        assert source.config["max_position_embeddings"] == 128
        assert source.config["head_dim"] == 16
        assert source.generation.temperature == 0.7
        assert source.tokenizer is not None
        assert source.tokenizer.eos_token_ids == (1, 2)


def test_float32_stored_as_bfloat16_is_read(tmp_path: Path) -> None:
    mlc_writer.write_mlc(tmp_path, "q0f32")
    cache = json.loads((tmp_path / "tensor-cache.json").read_text())
    for shard in cache["records"]:
        raw = np.frombuffer((tmp_path / shard["dataPath"]).read_bytes(), "<u4")
        (tmp_path / shard["dataPath"]).write_bytes((raw >> 16).astype("<u2").tobytes())
        del shard["md5sum"]
        for record in shard["records"]:
            record["format"] = "f32-to-bf16"
            record["nbytes"] //= 2
            record["byteOffset"] //= 2
    tiny_source.write_json(tmp_path / "tensor-cache.json", cache)
    with open_source(tmp_path) as source:
        values = tiny_source.weights()["lm_head.weight"]
        expected = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
        np.testing.assert_array_equal(source.tensors["lm_head.weight"].dequantize(), expected)


def _record(**changes: Any) -> Callable[[Json], object]:
    return lambda cache: cache["records"][0]["records"][0].update(changes)


def _shard(**changes: Any) -> Callable[[Json], object]:
    return lambda cache: cache["records"][0].update(changes)


BAD_LISTS: dict[str, Callable[[Json], object]] = {
    "no shards": lambda cache: cache.pop("records"),
    "shards that are an object": lambda cache: cache.update(records={}),
    "a path out of the folder": _shard(dataPath="../secret.bin"),
    "an absolute path": _shard(dataPath="/etc/hostname"),
    "a path that is a number": _shard(dataPath=1),
    "a shard twice": lambda cache: cache["records"].append(cache["records"][0]),
    "a shard that does not exist": _shard(dataPath="none.bin"),
    "another hash": _shard(md5sum="0" * 32),
    "an offset past the end": _record(byteOffset=1 << 40),
    "a negative offset": _record(byteOffset=-4),
    "an offset that is a float": _record(byteOffset=0.0),
    "an overlap": lambda cache: cache["records"][0]["records"][1].update(byteOffset=0),
    "more bytes than the shape has": _record(nbytes=1 << 40),
    "sizes whose product wraps": _record(shape=[2**32, 2**32]),
    "a size of 0": _record(shape=[0, 64]),
    "a shape that is a text": _record(shape="64"),
    "an unknown dtype": _record(dtype="float8"),
    "an unknown format": _record(format="zip"),
    "a name that is a number": _record(name=1),
    "a name twice": lambda cache: cache["records"][0]["records"][0].update(
        name=cache["records"][0]["records"][2]["name"]
    ),
    "a scale without codes": lambda cache: cache["records"][0]["records"][0].update(name="x.y"),
    "codes without a scale": lambda cache: cache["records"][0]["records"][1].update(name="x.y"),
    "records that are missing": lambda cache: cache["records"][0].pop("records"),
    "a record that is a list": lambda cache: cache["records"][0].update(records=[[]]),
}


@pytest.mark.parametrize("case", sorted(BAD_LISTS))
def test_list_of_weights_is_refused_with(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    mlc_writer.write_mlc(folder)
    (tmp_path / "secret.bin").write_bytes((folder / "params_shard_0.bin").read_bytes())
    path = folder / "tensor-cache.json"
    cache = json.loads(path.read_text())
    BAD_LISTS[case](cache)
    tiny_source.write_json(path, cache)
    with pytest.raises(SourceError):
        open_source(folder)


def test_a_damaged_shard_is_found(tmp_path: Path) -> None:
    mlc_writer.write_mlc(tmp_path)
    path = tmp_path / "params_shard_1.bin"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(SourceError, match="MD5"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"quantization": "q3f16_1"}, UnsupportedModelError),
        ({"quantization": ["q4f16_1"]}, UnsupportedModelError),
        ({"model_type": "gemma"}, UnsupportedModelError),
        ({"model_config": None}, SourceError),
        ({"model_config": {**mlc_writer.MODEL_CONFIG, "hidden_size": 128}}, SourceError),
        ({"model_config": {**mlc_writer.MODEL_CONFIG, "num_attention_heads": 2}}, SourceError),
        ({"eos_token_id": "x"}, SourceError),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    changes: Json, error: type[SourceError], tmp_path: Path
) -> None:
    mlc_writer.write_mlc(tmp_path)
    path = tmp_path / "mlc-chat-config.json"
    tiny_source.write_json(path, {**json.loads(path.read_text()), **changes})
    with pytest.raises(error):
        open_source(tmp_path)


def test_a_folder_without_list_is_refused(tmp_path: Path) -> None:
    mlc_writer.write_mlc(tmp_path)
    (tmp_path / "tensor-cache.json").unlink()
    with pytest.raises(SourceError, match="without tensor-cache"):
        open_source(tmp_path)
