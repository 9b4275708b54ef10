from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from artifact_samples import sample_json, with_right_id
from manifest_changes import Path, changed

from ferrylm.errors import ArtifactError
from ferrylm.runtime.manifest import AttentionVariant
from ferrylm.runtime.manifest_json import from_json

SHA = "a" * 64


def file_at(*path: str | int) -> Callable[[str], tuple[Path, object]]:
    return lambda name: (path, {"path": name, "size_bytes": 1, "sha256": SHA})


TOKENIZER = ("tokenizer", "file")
LIBRARY: Path = ("libraries", 0)
PARAMETER: Path = (*LIBRARY, "parameters", 0)
TENSOR: Path = ("weights", "tensors", 0)
TENSOR_COUNT = len(sample_json()["weights"]["tensors"])

BROKEN_RULES: dict[str, tuple[Path, object]] = {
    "another format": (("format",), "gguf"),
    "version 0": (("format_version",), 0),
    "a version that is true": (("format_version",), True),
    "a name with a terminal escape": (("name",), "a\x1b[2J"),
    "an empty name": (("name",), ""),
    "a name of 201 characters": (("name",), "n" * 201),
    "a name that turns the text around": (("name",), "a\u202eb"),
    "no layers": (("model", "num_layers"), 0),
    "negative vocabulary": (("model", "vocab_size"), -1),
    "a huge vocabulary": (("model", "vocab_size"), 2**31),
    "heads that do not share": (("model", "num_kv_heads"), 3),
    "epsilon 0": (("model", "norm_eps"), 0.0),
    "epsilon below 0": (("model", "norm_eps"), -1e-5),
    "attention of two layers where one is": (("model", "attention"), [{}, {}]),
    "a window of no tokens": (("model", "attention"), [{"window_tokens": 0}]),
    "a cap of scores below 0": (("model", "attention"), [{"soft_cap": -1.0}]),
    "scores times 0": (("model", "attention"), [{"score_scale": 0.0}]),
    "attention of an unknown kind": (("model", "attention"), [{"linear": True}]),
    "theta 0": (("model", "rope", "theta"), 0.0),
    "an unknown rope": (("model", "rope", "kind"), "mrope"),
    "a family that is a path": (("model", "family"), "../llama"),
    "an unknown quantization": (("quantization", "body"), "q3f16"),
    "group size 0": (("quantization", "group_size"), 0),
    "bits per weight 0": (("quantization", "bits_per_weight"), 0.0),
    "an unknown weight mode": (("weights", "mode"), "lazy"),
    "stored weights with a seed": (("weights", "seed"), 1),
    "random weights with files": (("weights", "mode"), "random"),
    "a tensor in a file below 0": ((*TENSOR, "file"), -1),
    "a tensor in no such file": ((*TENSOR, "file"), 2),
    "a tensor in a file of no number": ((*TENSOR, "file"), None),
    "a tensor named as a path": ((*TENSOR, "name"), "../x"),
    "a tensor with the metadata's name": ((*TENSOR, "name"), "__metadata__"),
    "a tensor named as another": ((*TENSOR, "name"), "final_norm"),
    "an unknown dtype": ((*TENSOR, "dtype"), "bfloat16"),
    "a shape with 0": ((*TENSOR, "shape"), [64, 0]),
    "a shape below 0": ((*TENSOR, "shape"), [-64, -32]),
    "a shape that overflows 64 bits": ((*TENSOR, "shape"), [2**32, 2**32]),
    "a shape of 2^48 bytes": ((*TENSOR, "shape"), [2**24, 2**24]),
    "nine dimensions": ((*TENSOR, "shape"), [1] * 9),
    "a bos id outside of the vocabulary": (("tokenizer", "bos_token_id"), 64),
    "an eos id outside of the vocabulary": (("tokenizer", "eos_token_ids"), [2, 64]),
    "an eos id below 0": (("tokenizer", "eos_token_ids"), [-1]),
    "bos added but unknown": (("tokenizer", "bos_token_id"), None),
    "a probe hash in capitals": (("tokenizer", "probe_sha256"), SHA.upper()),
    "a temperature below 0": (("generation", "temperature"), -0.1),
    "top_p above 1": (("generation", "top_p"), 1.1),
    "top_k below 0": (("generation", "top_k"), -1),
    "two libraries of one target": (("libraries", 1, "target"), "cpu-x86-64-v3"),
    "a target that is a path": ((*LIBRARY, "target"), "a/b"),
    "no decode batch": ((*LIBRARY, "decode_batches"), []),
    "a decode batch of 0": ((*LIBRARY, "decode_batches"), [0, 1]),
    "decode batches out of order": ((*LIBRARY, "decode_batches"), [4, 1]),
    "a decode batch twice": ((*LIBRARY, "decode_batches"), [1, 1]),
    "prefill chunk 0": ((*LIBRARY, "prefill_chunk"), 0),
    "page multiple 0": ((*LIBRARY, "kv_page_multiple"), 0),
    "workspace below 0": ((*LIBRARY, "workspace_bytes"), -1),
    "an unknown cache dtype": ((*LIBRARY, "kv_dtype"), "float12"),
    "a feature of two words": ((*LIBRARY, "requires", "cpu_features"), ["avx2 fma"]),
    "an unknown kind": ((*LIBRARY, "kind"), "metal"),
    "a target of another kind": ((*LIBRARY, "kind"), "cuda"),
    "a target of another tier": ((*LIBRARY, "tier"), "x86-64-v4"),
    "an unknown page layout": ((*LIBRARY, "kv_layout"), "vector16"),
    "kernels below 0": ((*LIBRARY, "kernels"), -1),
    "what a CPU needs of ROCm": ((*LIBRARY, "requires", "rocm"), {"architectures": ["gfx942"]}),
    "an empty machine": ((*LIBRARY, "requires", "machine"), ""),
    "a parameter of an unknown tensor": ((*PARAMETER, "sources"), ["nothing"]),
    "a copied parameter of two tensors": ((*PARAMETER, "sources"), ["final_norm", "final_norm"]),
    "a parameter of no tensor": ((*PARAMETER, "sources"), []),
    "a copied parameter of another shape": ((*PARAMETER, "shape"), [32]),
    "a copied parameter of another size": ((*PARAMETER, "dtype"), "int16"),
    "two parameters of one name": ((*PARAMETER, "name"), "layers.0.qkv"),
    "a transform that is no name": ((*LIBRARY, "parameters", 1, "transform"), "a b"),
    "a transform of nothing": ((*LIBRARY, "parameters", 1, "sources"), []),
    "a hash in capitals": ((*TOKENIZER, "sha256"), SHA.upper()),
    "a short hash": ((*TOKENIZER, "sha256"), SHA[:-1]),
    "a hash with a line break": ((*TOKENIZER, "sha256"), SHA + "\n"),
    "a size below 0": ((*TOKENIZER, "size_bytes"), -1),
    "a name without its hash": file_at(*TOKENIZER)("tokenizer.json"),
    "a name with eleven digits": file_at(*TOKENIZER)("tokenizer-aaaaaaaaaaa.json"),
    "a name that climbs": file_at(*TOKENIZER)(f"../{SHA}"),
    "two dots": file_at(*TOKENIZER)(".."),
    "an absolute name": file_at(*TOKENIZER)(f"/etc/{SHA}"),
    "a name in a folder": file_at(*TOKENIZER)(f"a/{SHA}"),
    "a name with a backslash": file_at(*TOKENIZER)(f"..\\{SHA}"),
    "a name with a zero byte": file_at(*TOKENIZER)(f"{SHA}\0"),
    "a name with a line break": file_at(*TOKENIZER)(f"{SHA}\n"),
    "a hidden name": file_at(*TOKENIZER)(f".{SHA}"),
    "a name of letters beyond ASCII": file_at(*TOKENIZER)(f"\uff0e\uff0e{SHA}"),
    "a name of 201 characters as file": file_at(*TOKENIZER)("a" * 201),
    "the file of another with another hash": (
        (*TOKENIZER, "path"),
        sample_json()["golden"]["path"],
    ),
}


@pytest.mark.parametrize(("path", "new"), BROKEN_RULES.values(), ids=BROKEN_RULES.keys())
def test_a_broken_rule_is_refused_although_the_id_fits(path: Path, new: object) -> None:
    value = changed(path, new)
    with pytest.raises(ArtifactError, match=r"^manifest\.json: ") as caught:
        from_json(value)
    assert "artifact_id" not in caught.value.found
    assert caught.value.wanted
    assert caught.value.fix
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_names_that_differ_in_case_only_are_refused() -> None:
    value = sample_json()
    digits = "b" * 64
    value["golden"] = {"path": f"GOLDEN-{digits}", "size_bytes": 1, "sha256": digits}
    value["tokenizer"]["file"] = {"path": f"golden-{digits}", "size_bytes": 2, "sha256": digits}
    with pytest.raises(ArtifactError, match="two contents"):
        from_json(with_right_id(value))


def test_a_name_twice_with_one_content_is_allowed() -> None:
    value = sample_json()
    value["golden"] = value["tokenizer"]["file"]
    assert from_json(with_right_id(value)).golden is not None


def test_a_newer_version_is_named_as_such_whatever_else_it_holds() -> None:
    for value in (changed(("format_version",), 3), {"format": "ferrylm-artifact"}):
        value = {**value, "format_version": 3}
        with pytest.raises(ArtifactError, match=r"newer ferrylm.*update ferrylm"):
            from_json(value)


def test_an_older_version_is_named_as_such_whatever_else_it_holds() -> None:
    for value in (sample_json(), {"format": "ferrylm-artifact"}):
        value = {**value, "format_version": 1}
        with pytest.raises(ArtifactError, match=r"older ferrylm.*compile the model again"):
            from_json(value)


def test_a_parameter_may_be_the_bytes_of_its_source_in_another_type() -> None:
    value = sample_json()
    parameter = value["libraries"][0]["parameters"][0]
    assert (parameter["dtype"], parameter["shape"], parameter["transform"]) == (
        "float32", [64], None,
    )  # fmt: skip
    parameter |= {"dtype": "uint16", "shape": [2, 64]}
    assert from_json(with_right_id(value)).libraries[0].parameters[0].dtype == "uint16"


def test_an_id_that_does_not_fit_is_refused() -> None:
    value = sample_json()
    value["name"] = "another"
    with pytest.raises(ArtifactError, match="artifact_id is"):
        from_json(value)


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "ferrylm-artifact", [], {}, [{}]])
def test_json_that_is_no_manifest_is_refused(value: Any) -> None:
    with pytest.raises(ArtifactError, match="format is another or missing"):
        from_json(value)


def test_how_a_layer_attends_comes_back_and_is_left_out_where_it_is_plain() -> None:
    value = changed(("model", "attention"), [{"window_tokens": 16, "soft_cap": 50.0}])
    model = from_json(value).model
    assert model.layer_attention(0) == AttentionVariant(window_tokens=16, soft_cap=50.0)
    plain = sample_json()
    assert "attention" not in plain["model"]
    assert from_json(plain).model.layer_attention(0) == AttentionVariant()
