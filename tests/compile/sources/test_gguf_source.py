"""A GGUF file opens as the Hugging Face model it was converted from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_source
from gguf_builder import GgufFile, GgufTensor, encoded_tensor, float_tensor, plain

from ferrylm.compile.quantize import decode, encode
from ferrylm.compile.sources import Source, open_source
from ferrylm.compile.sources.encodings import ENCODINGS
from ferrylm.compile.sources.gguf_config import llama3_factors, llama3_scaling
from ferrylm.errors import SourceError, UnsupportedModelError
from ferrylm.relax_models.config import model_config


def _open(tmp_path: Path, file: GgufFile, name: str = "Tiny-Model.Q4_0.gguf") -> Source:
    path = tmp_path / name
    path.write_bytes(file.to_bytes())
    return open_source(path)


def _values(source: Source) -> dict[str, np.ndarray]:
    return {name: tensor.dequantize() for name, tensor in source.tensors.items()}


def test_config_has_hugging_faces_keys(tmp_path: Path) -> None:
    with _open(tmp_path, tiny_source.gguf_file()) as source:
        wanted = {k: v for k, v in tiny_source.CONFIG.items() if k != "eos_token_id"}
        assert {key: source.config[key] for key in wanted} == wanted
        assert source.config["head_dim"] == 16
        assert source.config["rope_scaling"] is None
        assert (source.kind, source.name) == ("gguf", "Tiny-Model")


def test_tensors_have_hugging_faces_names_and_values(tmp_path: Path) -> None:
    with _open(tmp_path, tiny_source.gguf_file()) as source:
        expected = tiny_source.weights()
        assert set(source.tensors) == set(expected)
        for name, values in _values(source).items():
            np.testing.assert_array_equal(values, expected[name], strict=True, err_msg=name)


def _rotate_neighbours(vector: np.ndarray, position: int) -> np.ndarray:
    """Rotate elements 2i, 2i+1 of a head, as llama.cpp runs Llama."""
    angle = position * 10000.0 ** (-np.arange(0, len(vector), 2) / len(vector))
    pairs = vector.reshape(-1, 2)
    turned = np.stack(
        [
            pairs[:, 0] * np.cos(angle) - pairs[:, 1] * np.sin(angle),
            pairs[:, 0] * np.sin(angle) + pairs[:, 1] * np.cos(angle),
        ],
        axis=1,
    )
    return turned.reshape(-1)


def _rotate_halves(vector: np.ndarray, position: int) -> np.ndarray:
    """Rotate elements i, i + d/2 of a head, as transformers runs Llama."""
    half = len(vector) // 2
    angle = position * 10000.0 ** (-np.arange(half) / half)
    low, high = vector[:half], vector[half:]
    return np.concatenate(
        [low * np.cos(angle) - high * np.sin(angle), low * np.sin(angle) + high * np.cos(angle)]
    )


def test_attention_scores_are_those_of_the_file_under_its_own_rotation(tmp_path: Path) -> None:
    file = tiny_source.gguf_file()
    stored = {t.name: np.frombuffer(t.data, "<f4").reshape(-1, 64) for t in file.tensors}
    activation = np.random.default_rng(1).standard_normal(64)
    with _open(tmp_path, file) as source:
        for head in range(2):
            rows = slice(16 * head, 16 * head + 16)
            theirs = [
                _rotate_neighbours(stored[f"blk.0.attn_{part}.weight"][rows] @ activation, at)
                for part, at in (("q", 9), ("k", 4))
            ]
            ours = [
                _rotate_halves(
                    source.tensors[f"model.layers.0.self_attn.{part}_proj.weight"].dequantize()[
                        rows
                    ]
                    @ activation,
                    at,
                )
                for part, at in (("q", 9), ("k", 4))
            ]
            assert math.isclose(theirs[0] @ theirs[1], ours[0] @ ours[1], rel_tol=1e-9)


@pytest.mark.parametrize("encoding", ["Q4_0", "Q4_1", "Q8_0"])
def test_reordered_rows_stay_encoded_and_lossless(encoding: str, tmp_path: Path) -> None:
    form = ENCODINGS[encoding]
    random = np.random.default_rng(4)
    blocks = random.integers(0, 256, (64 * 2, form.block_bytes), dtype=np.uint8)
    for at in range(0, 4 if encoding == "Q4_1" else 2, 2):
        blocks[:, at : at + 2] = random.standard_normal(128).astype("<f2").view("u1").reshape(-1, 2)
    raw = blocks.reshape(64, -1)
    file = tiny_source.gguf_file()
    index = [tensor.name for tensor in file.tensors].index("blk.1.attn_q.weight")
    reordered = tiny_source.pairs_together(raw, tiny_source.HEADS)
    file.tensors[index] = encoded_tensor("blk.1.attn_q.weight", encoding, 64, reordered)
    with _open(tmp_path, file) as source:
        tensor = source.tensors["model.layers.1.self_attn.q_proj.weight"]
        np.testing.assert_array_equal(tensor.read_rows(0, 64), raw)
        np.testing.assert_array_equal(tensor.read_rows(5, 23), raw[5:23])
        scheme = "q8f16" if encoding == "Q8_0" else "q4f16"
        np.testing.assert_array_equal(
            decode(encode(tensor, scheme), scheme, 64), form.decode(raw), strict=True
        )


def test_qwen2_rows_stay_in_place_and_biases_are_kept(tmp_path: Path) -> None:
    weights = tiny_source.weights()
    tensors = [float_tensor(tiny_source.gguf_name(name), w) for name, w in weights.items()]
    biases = {}
    for part, size in (("q", 64), ("k", 32), ("v", 32)):
        for layer in range(2):
            bias = np.arange(size, dtype=np.float32) + layer
            biases[f"model.layers.{layer}.self_attn.{part}_proj.bias"] = bias
            tensors.append(float_tensor(f"blk.{layer}.attn_{part}.bias", bias))
    metadata = {
        key.replace("llama.", "qwen2."): value for key, value in tiny_source.gguf_metadata().items()
    }
    metadata["general.architecture"] = "qwen2"
    with _open(tmp_path, GgufFile(plain(metadata), tensors)) as source:
        assert source.config["model_type"] == "qwen2"
        assert source.config["attention_bias"] is True
        assert model_config(source.config).qkv_bias
        for name, values in _values(source).items():
            np.testing.assert_array_equal(values, {**weights, **biases}[name], err_msg=name)


def test_qwen3_rows_stay_in_place_and_norms_of_heads_are_kept(tmp_path: Path) -> None:
    weights = tiny_source.weights()
    for layer in range(2):
        for part in "qk":
            name = f"model.layers.{layer}.self_attn.{part}_norm.weight"
            weights[name] = np.arange(16, dtype=np.float32) + layer
    tensors = [float_tensor(tiny_source.gguf_name(name), w) for name, w in weights.items()]
    metadata = {
        key.replace("llama.", "qwen3."): value for key, value in tiny_source.gguf_metadata().items()
    }
    metadata["general.architecture"] = "qwen3"
    with _open(tmp_path, GgufFile(plain(metadata), tensors)) as source:
        assert model_config(source.config).head_norm
        for name, values in _values(source).items():
            np.testing.assert_array_equal(values, weights[name], err_msg=name)


def test_llama_biases_of_q_are_reordered_with_their_rows(tmp_path: Path) -> None:
    bias = np.arange(64, dtype=np.float32)
    file = tiny_source.gguf_file()
    file.tensors.append(float_tensor("blk.0.attn_q.bias", tiny_source.pairs_together(bias, 4)))
    with _open(tmp_path, file) as source:
        stored = source.tensors["model.layers.0.self_attn.q_proj.bias"]
        np.testing.assert_array_equal(stored.dequantize(), bias, strict=True)
        np.testing.assert_array_equal(stored.dequantize(3, 40), bias[3:40], strict=True)


def test_head_is_tied_when_the_file_has_none(tmp_path: Path) -> None:
    file = tiny_source.gguf_file()
    file.tensors = [tensor for tensor in file.tensors if tensor.name != "output.weight"]
    with _open(tmp_path, file) as source:
        assert source.config["tie_word_embeddings"] is True
        assert "lm_head.weight" not in source.tensors


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"type": "none"}, None),
        ({"type": "linear", "factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        (
            {"type": "yarn", "factor": 4.0, "original_context_length": 64},
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        ),
    ],
)
def test_rope_scaling_of_the_metadata_is_translated(
    metadata: dict[str, Any], expected: dict[str, Any] | None, tmp_path: Path
) -> None:
    keys = {f"llama.rope.scaling.{key}": value for key, value in metadata.items()}
    with _open(tmp_path, tiny_source.gguf_file(**keys)) as source:
        assert source.config["rope_scaling"] == expected


@pytest.mark.parametrize(
    ("theta", "head_dim", "factor", "high", "context"),
    [(500000.0, 128, 8.0, 4.0, 8192), (500000.0, 64, 32.0, 4.0, 8192), (1e6, 128, 16.0, 2.5, 4096)],
)
def test_llama3_scaling_is_found_again_from_its_factors(
    theta: float, head_dim: int, factor: float, high: float, context: int
) -> None:
    half = head_dim // 2
    wavelengths = 2 * math.pi * theta ** (np.arange(half) / half)
    factors = llama3_factors(wavelengths, factor, 1.0, high, context).astype(np.float32)
    assert llama3_scaling(factors, theta) == {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": high,
        "original_max_position_embeddings": context,
    }


def test_factors_that_are_not_llama3s_are_passed_on_as_they_are(tmp_path: Path) -> None:
    factors = np.linspace(1, 3, 8, dtype=np.float32)
    file = tiny_source.gguf_file()
    file.tensors.append(float_tensor("rope_freqs.weight", factors))
    with _open(tmp_path, file) as source:
        assert source.config["rope_scaling"] is None
        assert source.config["rope_frequency_factors"] == [float(x) for x in factors]
        assert not any("rope" in name for name in source.tensors)


def test_version_2_reads_like_version_3(tmp_path: Path) -> None:
    file = tiny_source.gguf_file()
    file.version = 2
    with _open(tmp_path, file) as source:
        assert len(source.tensors) == len(tiny_source.weights())


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_other_alignments_are_read(alignment: int, tmp_path: Path) -> None:
    file = tiny_source.gguf_file(**{"general.alignment": alignment})
    file.alignment = alignment
    with _open(tmp_path, file) as source:
        expected = tiny_source.weights()["lm_head.weight"]
        np.testing.assert_array_equal(source.tensors["lm_head.weight"].dequantize(), expected)


def test_sampling_settings_of_the_file_are_read(tmp_path: Path) -> None:
    keys = {"general.sampling.temp": 0.75, "general.sampling.top_k": 20}
    with _open(tmp_path, tiny_source.gguf_file(**keys)) as source:
        assert (source.generation.temperature, source.generation.top_k) == (0.75, 20)
        assert source.generation.top_p is None


def test_rows_outside_a_tensor_are_refused(tmp_path: Path) -> None:
    with _open(tmp_path, tiny_source.gguf_file()) as source:
        for start, stop in ((-1, 2), (3, 2), (0, 289)):
            with pytest.raises(SourceError, match="rows"):
                source.tensors["lm_head.weight"].read_rows(start, stop)


def test_a_closed_source_gives_an_error(tmp_path: Path) -> None:
    source = _open(tmp_path, tiny_source.gguf_file())
    source.close()
    source.close()
    with pytest.raises(SourceError, match="closed"):
        source.tensors["lm_head.weight"].dequantize()


@pytest.mark.parametrize("name", ["model.bin", "model.safetensors", "missing.gguf"])
def test_other_paths_are_refused_with_what_is_wanted(name: str, tmp_path: Path) -> None:
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match=r"wanted a \.gguf file"):
        open_source(tmp_path / name)


def test_unsupported_tensors_name_the_model_kinds(tmp_path: Path) -> None:
    file = tiny_source.gguf_file()
    file.tensors.append(GgufTensor("v.patch_embd.weight", (8,), 0, bytes(32)))
    with pytest.raises(UnsupportedModelError, match=r"v\.patch_embd\.weight"):
        _open(tmp_path, file)


def test_a_gguf_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    with _open(tmp_path, tiny_source.gguf_file(), "sha256-0123") as source:
        assert source.kind == "gguf"


@pytest.mark.parametrize(
    ("name", "size", "key"),
    [
        ("blk.1.attn_q.bias", 64, "attention_bias"),
        ("blk.1.attn_output.bias", 64, "attention_out_bias"),
        ("blk.1.ffn_down.bias", 64, "mlp_bias"),
    ],
)
def test_a_bias_anywhere_shows_in_the_config(
    name: str, size: int, key: str, tmp_path: Path
) -> None:
    file = tiny_source.gguf_file()
    file.tensors.append(float_tensor(name, np.ones(size, np.float32)))
    with _open(tmp_path, file) as source:
        flags = {"attention_bias": "attn" in name, "attention_out_bias": False, "mlp_bias": False}
        assert {flag: source.config[flag] for flag in flags} == {**flags, key: True}


def test_a_norm_that_llama_does_not_have_is_refused(tmp_path: Path) -> None:
    file = tiny_source.gguf_file()
    file.tensors.append(float_tensor("blk.0.attn_q_norm.weight", np.ones(16, np.float32)))
    with pytest.raises(SourceError, match="q_norm"):
        _open(tmp_path, file)


def test_rope_factors_of_one_change_nothing(tmp_path: Path) -> None:
    file = tiny_source.gguf_file()
    file.tensors.append(float_tensor("rope_freqs.weight", np.ones(8, np.float32)))
    with _open(tmp_path, file) as source:
        assert source.config["rope_scaling"] is None
        assert "rope_frequency_factors" not in source.config


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct"),
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Llama-3.2-1B-Instruct"),
        ("model-f16.gguf", "model"),
        ("..weird name\u00fc.gguf", "weird-name"),
        ("-.gguf", "model"),
        ("x" * 150 + ".gguf", "x" * 96),
    ],
)
def test_name_is_the_files_without_quantization_and_odd_characters(
    file_name: str, expected: str, tmp_path: Path
) -> None:
    with _open(tmp_path, tiny_source.gguf_file(), file_name) as source:
        assert source.name == expected
