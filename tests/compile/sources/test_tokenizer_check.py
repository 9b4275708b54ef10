"""A stranger's tokenizer.json can cost a child process, and nothing else."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import tiny_source

from ferrylm.compile.sources.tokenizer_check import check_tokenizer
from ferrylm.compile.sources.tokenizer_structure import check_structure
from ferrylm.errors import TokenizerError


def _check(document: dict[str, Any], timeout_seconds: float = 30) -> None:
    check_tokenizer(json.dumps(check_structure(document)), ["<s>"], timeout_seconds)


def _document(**changes: Any) -> dict[str, Any]:
    return tiny_source.tokenizer_json(**changes)


def _split(expression: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": expression},
        "behavior": "Isolated",
        "invert": False,
    }


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def _model(**changes: Any) -> dict[str, Any]:
    document = _document()
    return {**document, "model": {**document["model"], **changes}}


def test_facts_of_a_good_tokenizer() -> None:
    facts = check_tokenizer(json.dumps(_document()), ["<s>", "hello", "absent"])
    assert facts.largest_id == len(tiny_source.TOKENS) - 1
    assert facts.ids == {"<s>": 0, "hello": tiny_source.TOKENS.index("hello")}
    assert facts.empty_ids == ()


# In process, tokenizers 0.23 panics, aborts or hangs on some of these, and refuses the others.
BAD: dict[str, dict[str, Any]] = {
    "a merge longer than any token": _model(merges=[["h", "e" * 500]]),
    "a merge of unknown tokens": _model(merges=[["qq", "q"]]),
    "an id of -1": _model(vocab={"a": -1}),
    "an id beyond 32 bits": _model(vocab={"a": 2**40}),
    "words of length 0": _document(pre_tokenizer={"type": "FixedLength", "length": 0}),
    "a broken expression": _document(pre_tokenizer=_split("(")),
    "nested repetition": _document(pre_tokenizer=_split("(a+)+$")),
    "nested alternatives": _document(pre_tokenizer=_split("(a|a|b|ab)*$")),
    "an unknown pre-tokenizer": _document(pre_tokenizer={"type": "Nope"}),
    "a text for a model": _document(model="BPE"),
    "an unknown top-level key": _document(auto_map={"x": "y"}),
    "an unknown model": _document(model={"type": "Custom", "vocab": {}}),
    "replacements that multiply": _document(
        normalizer={
            "type": "Sequence",
            "normalizers": [_replace(a, b * 40) for a, b in ("ab", "bc", "cd", "de", "ef", "fg")],
        }
    ),
    "one enormous replacement": _document(normalizer=_replace("a", "b" * 100000)),
    "an expression of a megabyte": _document(pre_tokenizer=_split("a" * (1 << 20))),
    "a hundred components": _document(
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}] * 100}
    ),
    "a unigram without unknown token": _document(
        model={"type": "Unigram", "unk_id": 7, "vocab": [["a", 0.0]], "byte_fallback": False}
    ),
    "a template without its token": _document(
        post_processor={
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<none>", "type_id": 0}}],
            "pair": [],
            "special_tokens": {},
        }
    ),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_tokenizer_is_refused_with(case: str) -> None:
    start = time.monotonic()
    with pytest.raises(TokenizerError):
        _check(BAD[case])
    assert time.monotonic() - start < 30


def test_a_tokenizer_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(TokenizerError, match=r"takes more than 0\.001 s"):
        _check(_document(), timeout_seconds=0.001)


def test_memory_of_the_child_is_limited() -> None:
    # Passed around the structure check: 40^6 characters from one.
    document = BAD["replacements that multiply"]
    with pytest.raises(TokenizerError, match=r"signal|ends its process|refused"):
        check_tokenizer(json.dumps(document), [])


def test_sentencepieces_own_replacement_is_no_bomb() -> None:
    check_structure(_document(normalizer=_replace(" ", "\u2581")))
