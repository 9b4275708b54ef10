"""Streaming gives the text that decoding everything at once gives, for each family of decoders."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_fakes import byte_level_backend, metaspace_backend, sentencepiece_backend
from tokenizers import Tokenizer as Backend
from tokenizers import decoders

from ferrylm.errors import TokenizerError
from ferrylm.runtime.tokenizer import Tokenizer

BYTE_LEVEL = byte_level_backend()
SENTENCEPIECE = sentencepiece_backend()
BACKENDS: dict[str, Callable[[], Backend]] = {
    "byte level": lambda: BYTE_LEVEL,
    "sentencepiece": lambda: SENTENCEPIECE,
    "sentencepiece without strip": lambda: sentencepiece_backend(strip=False),
    "metaspace always": lambda: metaspace_backend("always"),
    "metaspace first": lambda: metaspace_backend("first"),
    "metaspace never": lambda: metaspace_backend("never"),
}
MADE = {name: (make(), Tokenizer(make().to_str())) for name, make in BACKENDS.items()}


def streamed(tokenizer: Tokenizer, ids: list[int], *, continues: bool = False) -> list[str]:
    decoder = tokenizer.stream_decoder(continues=continues)
    return [*(decoder.push(token_id) for token_id in ids), decoder.finish()]


@pytest.mark.parametrize("name", MADE)
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_streamed_pieces_are_the_text_of_all_tokens(name: str, data: st.DataObject) -> None:
    backend, tokenizer = MADE[name]
    ids = data.draw(st.lists(st.integers(0, backend.get_vocab_size() - 1), max_size=40))
    whole = backend.decode(ids)
    if "byte" in name or "�" not in whole:
        assert "".join(streamed(tokenizer, ids)) == whole
    assert "".join(streamed(tokenizer, ids)) == tokenizer.decode(ids)


@pytest.mark.parametrize("name", ["byte level", "sentencepiece"])
@given(text=st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_survives_encoding_and_streaming(name: str, text: str) -> None:
    backend, tokenizer = MADE[name]
    ids = tokenizer.encode(text, parse_special=False)
    if name == "sentencepiece" and "▁" in text:
        text = text.replace("▁", " ")  # SentencePiece has one sign for both
    assert "".join(streamed(tokenizer, ids)) == text
    assert backend.decode(ids) == text or "�" in text


@given(ids=st.lists(st.integers(0, 339), max_size=60))
@settings(max_examples=200, deadline=None)
def test_a_piece_never_ends_inside_a_character(ids: list[int]) -> None:
    _, tokenizer = MADE["byte level"]
    raw = b""
    decoder = tokenizer.stream_decoder(skip_special=False)
    shown = ""
    for token_id in ids:
        raw += tokenizer.token_bytes(token_id)
        shown += decoder.push(token_id)
        settled = raw.decode(errors="replace")
        assert settled.startswith(shown)
        # What is held back could begin one character: three bytes at most.
        assert len(settled) - len(shown) <= 3


def test_an_emoji_of_four_byte_tokens_comes_out_with_its_last_byte() -> None:
    backend, tokenizer = MADE["sentencepiece"]
    ids = [backend.token_to_id(f"<0x{byte:02X}>") for byte in "😀".encode()]
    assert streamed(tokenizer, ids) == ["", "", "", "😀", ""]


def test_an_unfinished_character_becomes_one_replacement_character_at_the_end() -> None:
    backend, tokenizer = MADE["byte level"]
    cat = backend.encode("cat", add_special_tokens=False).ids
    unfinished = [backend.token_to_id(c) for c in "âĤ"]  # E2 82, of the euro sign's three bytes
    assert "".join(streamed(tokenizer, cat + unfinished)) == "cat�"
    assert backend.decode(cat + unfinished) == "cat�"


def test_bytes_that_begin_no_character_become_replacement_characters_at_once() -> None:
    backend, tokenizer = MADE["sentencepiece"]
    ids = [backend.token_to_id(token) for token in ("<0xFF>", "<0xE2>", "cat")]
    assert streamed(tokenizer, ids) == ["�", "", "�cat", ""]


def test_the_first_space_is_dropped_from_a_new_text_and_kept_in_a_continued_one() -> None:
    backend, tokenizer = MADE["sentencepiece"]
    ids = [backend.token_to_id(token) for token in ("▁the", "▁cat")]
    assert streamed(tokenizer, ids) == ["the", " cat", ""]
    assert streamed(tokenizer, ids, continues=True) == [" the", " cat", ""]


def test_a_special_token_before_the_text_does_not_use_up_the_dropped_space() -> None:
    backend, tokenizer = MADE["sentencepiece"]
    ids = [backend.token_to_id(token) for token in ("<s>", "▁the", "<s>", "▁cat")]
    assert "".join(streamed(tokenizer, ids)) == backend.decode(ids) == "the cat"


def test_special_tokens_are_no_text_unless_wanted() -> None:
    backend, tokenizer = MADE["byte level"]
    ids = [backend.token_to_id("<|end|>"), backend.token_to_id("<tool call>")]
    assert tokenizer.decode(ids) == backend.decode(ids) == "<tool call>"
    shown = tokenizer.decode(ids, skip_special=False)
    assert shown == backend.decode(ids, skip_special_tokens=False) == "<|end|><tool call>"


def test_ids_of_padding_rows_add_nothing_to_a_stream() -> None:
    _, tokenizer = MADE["byte level"]
    assert streamed(tokenizer, [tokenizer.vocab_size, 2**40]) == ["", "", ""]


def test_the_work_per_token_does_not_grow_with_the_text() -> None:
    """Counts Python calls of the last of many tokens, not seconds."""
    _, tokenizer = MADE["byte level"]
    decoder = tokenizer.stream_decoder()
    ids = tokenizer.encode("the cat sat on the mat, ")

    def calls_of_a_push() -> int:
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            decoder.push(ids[0])
        finally:
            sys.setprofile(None)
        return calls

    first = calls_of_a_push()
    for _ in range(500):
        for token_id in ids:
            decoder.push(token_id)
    assert calls_of_a_push() <= first


def test_a_decoder_that_cannot_be_streamed_is_refused_by_name() -> None:
    backend = byte_level_backend()
    backend.decoder = decoders.WordPiece()
    with pytest.raises(TokenizerError, match="WordPiece"):
        Tokenizer(backend.to_str())


def test_a_decoder_whose_replacements_explode_is_refused() -> None:
    backend = sentencepiece_backend()
    bomb = [decoders.Replace("a", "a" * 16) for _ in range(6)]
    backend.decoder = decoders.Sequence([*bomb, decoders.Fuse()])
    with pytest.raises(TokenizerError, match="16777216"):
        Tokenizer(backend.to_str())
