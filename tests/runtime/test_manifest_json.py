from __future__ import annotations

import copy
import dataclasses
import json
import random
from typing import Any

import pytest
from artifact_samples import sample_json, sample_manifest, with_right_id
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_changes import REMOVE, Path, changed, every_path

from ferrylm.errors import ArtifactError
from ferrylm.runtime.manifest import Weights
from ferrylm.runtime.manifest_json import from_json, to_json, with_artifact_id
from ferrylm.runtime.strict_json import dumps_canonical, loads

SHA = "a" * 64

PATHS = every_path(sample_json())
FREE_DICTS = (("model", "rope", "parameters"), ("tokenizer", "special_tokens"))
FIELDS = [p for p in PATHS if isinstance(p[-1], str) and p[:-1] not in FREE_DICTS]


def test_a_manifest_reads_back_equal() -> None:
    manifest = sample_manifest()
    assert from_json(loads(dumps_canonical(to_json(manifest)), what="x")) == manifest


def test_a_manifest_with_random_weights_and_no_tokenizer_reads_back_equal() -> None:
    sample = sample_manifest()
    tensors = tuple(dataclasses.replace(t, file=None) for t in sample.weights.tensors)
    manifest = with_artifact_id(
        dataclasses.replace(
            sample, tokenizer=None, golden=None, weights=Weights("random", 7, (), tensors)
        )
    )
    assert from_json(to_json(manifest)) == manifest


@given(st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False))
@settings(max_examples=200, deadline=None)
def test_floats_round_trip_exactly(number: float) -> None:
    sample = sample_manifest()
    rope = dataclasses.replace(sample.model.rope, theta=number, parameters={"factor": -number})
    model = dataclasses.replace(sample.model, norm_eps=number, rope=rope)
    manifest = with_artifact_id(dataclasses.replace(sample, model=model))
    assert from_json(loads(dumps_canonical(to_json(manifest)), what="x")).model == model


def test_the_id_depends_on_the_content_and_not_on_the_old_id() -> None:
    sample = sample_manifest()
    assert with_artifact_id(dataclasses.replace(sample, artifact_id="x")) == sample
    other = with_artifact_id(dataclasses.replace(sample, name="other"))
    assert other.artifact_id != sample.artifact_id


def test_a_whole_number_in_a_float_field_has_the_id_of_the_float() -> None:
    sample = sample_manifest()
    rope = dataclasses.replace(sample.model.rope, theta=10000)
    model = dataclasses.replace(sample.model, rope=rope)
    assert with_artifact_id(dataclasses.replace(sample, model=model)) == sample


@pytest.mark.parametrize("path", FIELDS, ids=lambda p: ".".join(map(str, p)))
def test_a_missing_field_is_refused(path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"^manifest\.json: "):
        from_json(changed(path, REMOVE))


def test_a_field_of_another_version_is_refused_wherever_it_stands() -> None:
    holders = {p[:-1] for p in FIELDS}
    assert len(holders) > 15
    for holder in holders:
        with pytest.raises(ArtifactError, match=r"surprise.* is not a field"):
            from_json(changed((*holder, "surprise"), 1))


def test_no_type_stands_in_for_another() -> None:
    refused = 0
    for path in PATHS:
        value: Any = sample_json()
        for key in path:
            value = value[key]
        for other in (None, True, 1, 1.5, "1", [], {}, [[]], {"a": {}}):
            same_kind = type(other) is type(value)
            may_be_null = other is None and path[-1] in (
                *("tokenizer", "chat_template", "bos_token_id", "golden", "transform"),
                *("temperature", "top_k", "top_p", "min_p", "repetition_penalty"),
            )
            if same_kind or may_be_null or (value is None and type(other) in (int, float)):
                continue
            with pytest.raises(ArtifactError):
                from_json(changed(path, other))
            refused += 1
    assert refused > 1000


def test_a_broken_manifest_is_not_written_either() -> None:
    sample = sample_manifest()
    for wrong in (
        dataclasses.replace(sample, name="\x1b"),
        dataclasses.replace(sample, artifact_id="0" * 64),
        dataclasses.replace(sample, libraries=list(sample.libraries)),
        dataclasses.replace(sample, model=dataclasses.replace(sample.model, norm_eps=float("nan"))),
        dataclasses.replace(sample, model=dataclasses.replace(sample.model, num_layers=True)),
        dataclasses.replace(sample, golden=sample.tokenizer),
    ):
        with pytest.raises(ArtifactError):
            to_json(wrong)


HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64 - 1, -(2**63), 0.0, -0.0, 1e308, 5e-324,
    "", "..", "/", "\0", "a" * 300, "\u202e", SHA, [], {}, [[]], [0], [-1], [2**62] * 3,
    {"path": "../../etc/passwd", "size_bytes": 0, "sha256": SHA}, [None] * 1000, {"": {}},
]  # fmt: skip


def mutate(value: dict[str, Any], generator: random.Random) -> dict[str, Any]:
    """Change, drop, double or move a few values anywhere in the manifest."""
    value = copy.deepcopy(value)
    for _ in range(generator.randint(1, 3)):
        path = generator.choice(every_path(value))
        holder: Any = value
        for key in path[:-1]:
            holder = holder[key]
        action = generator.randrange(5)
        if action == 0:
            del holder[path[-1]]
        elif action == 1 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[path[-1]]))
        elif action == 2 and isinstance(holder, dict):
            holder[generator.choice(["x", "", "path", "name", "\x1b"])] = holder.pop(path[-1])
        elif action == 3 and isinstance(holder[path[-1]], int):
            holder[path[-1]] += generator.choice([-1, 1, 2**31, 2**48, -(2**33)])
        else:
            holder[path[-1]] = copy.deepcopy(generator.choice(HOSTILE))
    return value


def test_a_thousand_forged_manifests_give_a_manifest_or_the_typed_error() -> None:
    generator = random.Random(20_260_711)
    sample = sample_json()
    accepted = longest = 0
    for _ in range(1000):
        value = with_right_id(mutate(sample, generator))
        try:
            manifest = from_json(value)
        except ArtifactError as error:
            longest = max(longest, len(str(error)))
            continue
        accepted += 1
        assert to_json(manifest) == value
    # Some changes are harmless (another name, another preference); most are not.
    assert accepted < 300
    assert longest < 1000


def test_a_thousand_manifests_with_changed_bytes_are_refused_or_equal() -> None:
    generator = random.Random(4)
    data = dumps_canonical(sample_json())
    sample = sample_manifest()
    for _ in range(1000):
        damaged = bytearray(data)
        at = generator.randrange(len(damaged))
        damaged[at] ^= 1 << generator.randrange(8)
        try:
            assert from_json(loads(bytes(damaged), what="manifest.json")) == sample
        except ArtifactError:
            continue


def test_a_manifest_cut_anywhere_is_refused() -> None:
    data = json.dumps(sample_json()).encode()
    for end in range(0, len(data), 37):
        with pytest.raises(ArtifactError):
            from_json(loads(data[:end], what="manifest.json"))
