from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrylm.errors import ArtifactError, SourceError
from ferrylm.runtime.strict_json import dumps_canonical, loads

REFUSED = {
    "nothing": b"",
    "only spaces": b"   ",
    "a key twice": b'{"a": 1, "a": 1}',
    "a key twice, once escaped": b'{"a": 1, "\\u0061": 2}',
    "a key twice, deep": b'[{"x": {"a": 1, "b": 2, "a": 3}}]',
    "NaN": b"[NaN]",
    "Infinity": b"[Infinity]",
    "-Infinity": b"[-Infinity]",
    "a float beyond the range": b"[1e999]",
    "a negative float beyond the range": b"[-1e999]",
    "2^64": b"[18446744073709551616]",
    "-2^63-1": b"[-9223372036854775809]",
    "a million digits": b"[" + b"9" * 1_000_000 + b"]",
    "zeros before a number": b"[007]",
    "UTF-8 with a mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a": 1}'.encode("utf-16-le"),
    "broken UTF-8": b'["\xff"]',
    "overlong UTF-8": b'["\xc0\xaf"]',
    "a surrogate in UTF-8": b'["\xed\xa0\x80"]',
    "half a surrogate pair": b'["\\ud800"]',
    "half a surrogate pair as key": b'{"\\udfff": 1}',
    "two values": b"{} {}",
    "a comment": b"{} // why",
    "a comma too many": b"[1,]",
    "single quotes": b"{'a': 1}",
    "an open string": b'["abc',
    "an open string of escapes": b'["' + b'\\"' * 100_000,
    "a string that ends in a backslash": b'["abc\\',
    "a line break in a string": b'["a\nb"]',
    "a zero byte": b"[1]\x00",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_json_with_more_than_one_meaning_or_none_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^thing\.json: "):
        loads(data, what="thing.json")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'], ids=["lists", "objects", "both"])
@pytest.mark.parametrize("count", [65, 5_000, 2_000_000])
def test_json_nested_too_deep_is_refused_without_recursion(opening: bytes, count: int) -> None:
    with pytest.raises(ArtifactError, match="nested deeper than 64 levels"):
        loads(opening * count, what="deep", max_bytes=1 << 30)


def test_json_nested_as_deep_as_allowed_is_read() -> None:
    assert loads(b"[" * 64 + b"]" * 64, what="deep") is not None
    with pytest.raises(ArtifactError):
        loads(b"[" * 65 + b"]" * 65, what="deep")


@pytest.mark.parametrize(
    "text", ['["' + "[" * 500 + '"]', '["\\"' + "{" * 500 + '"]', '["\\\\", "' + "[" * 500 + '"]']
)
def test_brackets_within_strings_are_not_depth(text: str) -> None:
    assert loads(text.encode(), what="strings") == json.loads(text)


def test_depth_behind_a_string_that_ends_in_escaped_backslashes_is_counted() -> None:
    for backslashes in range(2, 12, 2):
        data = b'["' + b"\\" * backslashes + b'", ' + b"[" * 5_000
        with pytest.raises(ArtifactError, match="nested deeper"):
            loads(data, what="deep")


def test_json_larger_than_the_limit_is_refused_unread() -> None:
    with pytest.raises(ArtifactError, match="11 bytes of JSON, the limit is 10"):
        loads(b"[1,2,3,4,5]", what="big", max_bytes=10)


def test_the_caller_chooses_the_kind_of_error() -> None:
    with pytest.raises(SourceError, match=r"config\.json"):
        loads(b"{", what="config.json", error=SourceError)


def test_the_extremes_of_64_bits_are_read() -> None:
    assert loads(b"[18446744073709551615, -9223372036854775808]", what="x") == [2**64 - 1, -(2**63)]


def test_a_whole_surrogate_pair_is_read() -> None:
    assert loads(b'["\\ud83d\\ude00"]', what="x") == ["\U0001f600"]


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_what_is_written_reads_back_the_same_and_writes_the_same(value: object) -> None:
    data = dumps_canonical(value)  # type: ignore[arg-type]
    again = loads(data, what="x")
    assert again == value
    assert repr(again) == repr(loads(dumps_canonical(again), what="x"))
    assert dumps_canonical(again) == data
    assert data.endswith(b"\n")
    assert data.isascii()


@given(
    st.binary(max_size=60) | st.text('[]{}",:\\u0123eE+-.nulltrue ', max_size=60).map(str.encode)
)
@settings(max_examples=500, deadline=None)
def test_any_bytes_give_a_value_or_the_typed_error(data: bytes) -> None:
    try:
        value = loads(data, what="x")
    except ArtifactError:
        return
    assert value == json.loads(data)


def test_keys_are_sorted_whatever_order_they_come_in() -> None:
    assert dumps_canonical({"b": 1, "a": 2}) == dumps_canonical({"a": 2, "b": 1})


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 2**64, -(2**63) - 1, {1: 2}, (1, 2), "\ud800", {"\ud800": 1}, b""]
)
def test_what_could_not_be_read_back_is_not_written(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        dumps_canonical(value)  # type: ignore[arg-type]
