"""The tokenizer's errors are typed whatever its file holds, and its ids are Hugging Face's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_fakes import END, byte_level_backend, sentencepiece_backend
from tokenizers import normalizers

from ferrylm.errors import FerryError, TokenizerError, UsageError
from ferrylm.runtime import manifest
from ferrylm.runtime.tokenizer import Tokenizer, load_tokenizer
from ferrylm.runtime.tokenizer_probe import PROBE_TEXT, probe_sha256

BACKEND = byte_level_backend()
JSON = BACKEND.to_str()
END_ID = BACKEND.token_to_id(END)
PLAIN = Tokenizer(JSON)


def description() -> Any:
    return json.loads(JSON)


@given(text=st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_ids_are_those_of_the_library(text: str) -> None:
    assert PLAIN.encode(text) == BACKEND.encode(text, add_special_tokens=False).ids


def test_bos_is_put_in_front_of_a_prompt_once() -> None:
    tokenizer = Tokenizer(
        sentencepiece_backend().to_str(), bos_token_id=1, eos_token_ids=[2], add_bos=True
    )
    plain = tokenizer.encode("cat", add_special_tokens=False)
    assert tokenizer.encode("cat") == [1, *plain]
    written_out = tokenizer.encode("<s>cat")
    assert written_out[0] == 1
    assert written_out.count(1) == 1
    assert tokenizer.encode("") == [1]


def test_special_tokens_in_a_text_are_tokens_unless_they_are_to_be_text() -> None:
    tokenizer = Tokenizer(JSON)
    assert END_ID in tokenizer.encode(f"a{END}")
    as_text = tokenizer.encode(f"a{END}", parse_special=False)
    assert END_ID not in as_text
    assert tokenizer.decode(as_text) == f"a{END}"
    assert END_ID in tokenizer.encode(END), "the choice holds for one call only"


@pytest.mark.parametrize("broken", ["a\ud800b", "a\udcffb", "a\udfffb"])  # noqa: PT014
def test_a_lone_surrogate_counts_as_the_replacement_character(broken: str) -> None:
    tokenizer = Tokenizer(JSON)
    assert tokenizer.encode(broken) == tokenizer.encode("a\ufffdb")


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="bytes"):
        Tokenizer(JSON).encode(b"abc")  # type: ignore[arg-type]


def test_decoding_an_id_outside_the_vocabulary_is_refused() -> None:
    for wrong in (-1, 340, 2**40):
        with pytest.raises(UsageError, match=str(wrong)):
            Tokenizer(JSON).decode([wrong])


def test_token_bytes_are_what_a_token_adds() -> None:
    tokenizer = Tokenizer(JSON, eos_token_ids=[END_ID])
    ids = tokenizer.encode("日本 cat")
    assert b"".join(map(tokenizer.token_bytes, ids)) == "日本 cat".encode()
    assert tokenizer.token_bytes(END_ID) == END.encode()
    assert tokenizer.token_bytes(99999) == b""


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"model": 3}', "\ud800"])
def test_a_file_that_is_no_tokenizer_is_refused(text: str) -> None:
    with pytest.raises(TokenizerError):
        Tokenizer(text)


def test_a_merge_of_tokens_that_do_not_exist_is_refused() -> None:
    """The library panics here, with an exception that is no Exception."""
    broken = description()
    broken["model"]["merges"].append(["the" * 40, "cat" * 40])
    with pytest.raises(TokenizerError):
        Tokenizer(json.dumps(broken))


def test_padding_and_truncation_of_the_file_are_not_applied() -> None:
    changed = description()
    changed["truncation"] = {
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    changed["padding"] = {
        "strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": 0,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "!",
    }  # fmt: skip
    text = "the cat sat on the mat"
    assert Tokenizer(json.dumps(changed)).encode(text) == Tokenizer(JSON).encode(text)


def test_an_expression_that_backtracks_for_ever_is_an_error_in_time() -> None:
    changed = description()
    changed["pre_tokenizer"] = {
        "type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False,
    }  # fmt: skip
    tokenizer = Tokenizer(json.dumps(changed))
    with pytest.raises(TokenizerError, match="cannot encode"):
        tokenizer.encode("a" * 40 + "!")


def test_replacements_that_fill_the_memory_are_refused_before_they_run() -> None:
    backend = byte_level_backend()
    backend.normalizer = normalizers.Sequence(
        [normalizers.Replace(one, other * 64) for one, other in pairwise("abcdefg")]
    )
    with pytest.raises(TokenizerError, match=str(64**6)):
        Tokenizer(backend.to_str())


def test_texts_are_limited_by_what_they_could_grow_to() -> None:
    backend = byte_level_backend()
    backend.normalizer = normalizers.Replace("a", "b" * 60000)
    tokenizer = Tokenizer(backend.to_str())
    with pytest.raises(UsageError, match=f"at most {(64 << 20) // 60000}"):
        tokenizer.encode("x" * 1200)


@given(
    place=st.integers(0, len(JSON) - 1),
    insert=st.sampled_from(["", "0", "-", "[", "}", '"', "999999999999", "null", "\\ud800", "é"]),
    cut=st.integers(0, 30),
)
@settings(max_examples=300, deadline=None)
def test_a_mutated_file_works_or_is_refused(place: int, insert: str, cut: int) -> None:
    mutant = JSON[:place] + insert + JSON[place + cut :]
    try:
        tokenizer = Tokenizer(mutant)
        tokenizer.decode(tokenizer.encode("the cat, 日本 <|end|>"))
    except FerryError:
        pass


def test_the_probe_text_is_fixed() -> None:
    """A change of the text would refuse every artifact that was ever compiled."""
    found = hashlib.sha256(PROBE_TEXT.encode()).hexdigest()
    assert found == "09be11825a1a89b5fac26c691a16711291701dc2ef065cffbde861d968d5154c"


def test_the_probe_is_the_hash_of_the_ids_in_little_endian_int32() -> None:
    ids = BACKEND.encode(PROBE_TEXT, add_special_tokens=False).ids
    wanted = hashlib.sha256(b"".join(i.to_bytes(4, "little") for i in ids)).hexdigest()
    assert probe_sha256(Tokenizer(JSON)) == wanted
    assert np.unique(ids).size > 150, "the probe exercises little of the vocabulary"


class FakeArtifact:
    """What load_tokenizer asks of an artifact."""

    def __init__(self, data: bytes, **changes: Any) -> None:
        entry = manifest.FileEntry("tokenizer.json", len(data), "0" * 64)
        tokenizer = manifest.Tokenizer(
            file=entry, chat_template=None, bos_token_id=None, eos_token_ids=(END_ID,),
            add_bos=False, special_tokens={}, probe_sha256=probe_sha256(Tokenizer(JSON)),
        )  # fmt: skip
        vocab_size = changes.pop("vocab_size", 340)
        tokenizer = replace(tokenizer, **changes)
        self._data = data
        model = type("Model", (), {"vocab_size": vocab_size})()
        self.manifest = type(
            "Manifest", (), {"tokenizer": tokenizer, "model": model, "name": "tiny"}
        )()

    def read_verified(self, entry: manifest.FileEntry, max_bytes: int) -> bytes:
        assert entry.size_bytes <= max_bytes
        return self._data


def load(artifact: FakeArtifact) -> Tokenizer:
    return load_tokenizer(artifact)  # type: ignore[arg-type]


def test_an_artifacts_tokenizer_is_loaded() -> None:
    tokenizer = load(FakeArtifact(JSON.encode()))
    assert tokenizer.eos_token_ids == {END_ID}
    assert tokenizer.special_ids == {END_ID}


def test_a_tokenizer_larger_than_the_model_is_refused() -> None:
    with pytest.raises(TokenizerError, match=r"340 tokens.*339 rows"):
        load(FakeArtifact(JSON.encode(), vocab_size=339))


def test_a_tokenizer_that_gives_other_ids_than_at_compile_time_is_refused() -> None:
    changed = description()
    changed["model"]["merges"] = changed["model"]["merges"][:-1]
    with pytest.raises(TokenizerError, match="probe"):
        load(FakeArtifact(json.dumps(changed).encode()))


def test_a_special_token_without_a_row_is_refused() -> None:
    with pytest.raises(TokenizerError, match="5000"):
        load(FakeArtifact(JSON.encode(), eos_token_ids=(5000,)))


def test_an_artifact_without_a_tokenizer_is_refused() -> None:
    artifact = FakeArtifact(JSON.encode())
    artifact.manifest.tokenizer = None
    with pytest.raises(TokenizerError, match="tiny has no tokenizer"):
        load(artifact)
