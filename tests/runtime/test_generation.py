"""Answers end when and where they should, alone and in a batch, and free what they held."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_fakes import (
    END,
    FakeStepper,
    byte_level_backend,
    pseudo_random_model,
    scripted_model,
    sentencepiece_backend,
)

from ferrylm.errors import NumericError
from ferrylm.runtime.model import LanguageModel
from ferrylm.runtime.sampling_options import SamplingOptions
from ferrylm.runtime.tokenizer import Tokenizer

BACKEND = byte_level_backend()
ROWS = 352  # a model has more rows than its tokenizer has tokens
END_ID = BACKEND.token_to_id(END)
TOKENIZER = Tokenizer(BACKEND.to_str(), eos_token_ids=[END_ID])
PROMPT = "the cat"
PROMPT_IDS = TOKENIZER.encode(PROMPT)
GREEDY = SamplingOptions(temperature=0)


def saying(text: str, *, end: bool = True, **changes: Any) -> tuple[LanguageModel, FakeStepper]:
    """Return a model that answers the prompt with a text, then ends."""
    script = TOKENIZER.encode(text) + ([END_ID] if end else [])
    stepper = FakeStepper(scripted_model(ROWS, len(PROMPT_IDS), script), ROWS, **changes)
    return LanguageModel(stepper, TOKENIZER), stepper


def random_model(**changes: Any) -> tuple[LanguageModel, FakeStepper]:
    stepper = FakeStepper(pseudo_random_model(ROWS), ROWS, **changes)
    return LanguageModel(stepper, TOKENIZER), stepper


def test_an_answer_ends_at_the_end_of_sequence_token() -> None:
    model, stepper = saying(" sat on 日本 😀")
    answer = model.generate(PROMPT, options=GREEDY)
    assert answer.text == " sat on 日本 😀"
    assert answer.finish_reason == "stop"
    assert answer.token_ids == (*TOKENIZER.encode(answer.text), END_ID)
    assert answer.prompt_tokens == len(PROMPT_IDS)
    assert stepper.sequences[0].ids == [*PROMPT_IDS, *answer.token_ids[:-1]]
    assert stepper.open_count == 0


def test_any_of_several_end_tokens_ends_the_answer() -> None:
    comma = TOKENIZER.encode(",")[0]
    tokenizer = Tokenizer(BACKEND.to_str(), eos_token_ids=[END_ID, comma])
    _, stepper = saying(" cat, dog")
    answer = LanguageModel(stepper, tokenizer).generate(PROMPT, options=GREEDY)
    assert (answer.text, answer.finish_reason) == (" cat", "stop")


def test_an_ignored_end_token_is_passed_over() -> None:
    model, _ = saying(" sat")
    answer = model.generate(PROMPT, options=GREEDY, ignore_eos=True, max_tokens=20)
    assert answer.finish_reason == "length"
    assert answer.text.startswith(" sat sat sat")
    assert END_ID in answer.token_ids


def test_an_answer_ends_after_max_tokens() -> None:
    model, stepper = saying(" sat on the mat")
    answer = model.generate(PROMPT, options=GREEDY, max_tokens=2)
    assert (len(answer.token_ids), answer.finish_reason) == (2, "length")
    assert stepper.sequences[0].length == len(PROMPT_IDS) + 1, "the last token needs no step"


def test_an_answer_ends_with_the_context_by_default() -> None:
    model, _ = saying(" sat", end=False, context_length=20)
    answer = model.generate(PROMPT, options=GREEDY)
    assert answer.finish_reason == "length"
    assert answer.prompt_tokens + len(answer.token_ids) == 20


@pytest.mark.parametrize("stop", ["the", " t", "n the m", "sat"])
def test_an_answer_is_cut_before_a_stop_string(stop: str) -> None:
    text = " sat on the mat"
    model, stepper = saying(text)
    chunks = list(model.stream(PROMPT, options=GREEDY, stop=["zzz", stop]))
    shown = "".join(chunk.text for chunk in chunks)
    assert shown == text[: text.index(stop)]
    assert chunks[-1].finish_reason == "stop"
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert stepper.open_count == 0


def test_what_only_looked_like_a_stop_string_is_shown_in_the_end() -> None:
    model, _ = saying(" sat on the")
    answer = model.generate(PROMPT, options=GREEDY, stop="the mat")
    assert (answer.text, answer.finish_reason) == (" sat on the", "stop")


def test_an_unfinished_character_at_the_end_is_shown_as_replacement() -> None:
    assert len(TOKENIZER.encode("zö")) == 3, "the letter is two tokens of one byte each"
    model, _ = saying("zö")
    assert model.generate(PROMPT, options=GREEDY).text == "zö"
    chunks = list(model.stream(PROMPT, options=GREEDY, max_tokens=2))
    assert [chunk.text for chunk in chunks] == ["z", "�"]


@given(seed=st.integers(0, 2**64 - 1), max_tokens=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_the_chunks_are_the_answer(seed: int, max_tokens: int) -> None:
    model, stepper = random_model()
    options = SamplingOptions(temperature=1.0, seed=seed, logprobs=True, top_logprobs=2)
    chunks = list(model.stream(PROMPT, options=options, max_tokens=max_tokens))
    answer = model.generate(PROMPT, options=options, max_tokens=max_tokens)
    assert "".join(chunk.text for chunk in chunks) == answer.text
    ids = tuple(i for chunk in chunks for i in chunk.token_ids)
    assert ids == answer.token_ids
    assert answer.text == TOKENIZER.decode([i for i in ids if i < TOKENIZER.vocab_size])
    assert answer.logprobs is not None
    assert tuple(report.token_id for report in answer.logprobs) == ids
    assert all(len(report.top) == 2 for report in answer.logprobs)
    assert answer.seed == seed
    assert stepper.open_count == 0


def test_the_chosen_seed_gives_the_answer_again() -> None:
    model, _ = random_model()
    first = model.generate(PROMPT, max_tokens=30)
    again = model.generate(PROMPT, max_tokens=30, options=SamplingOptions(seed=first.seed))
    assert again.token_ids == first.token_ids
    assert model.generate(PROMPT, max_tokens=30).token_ids != first.token_ids


def test_closing_a_stream_frees_its_sequence() -> None:
    model, stepper = random_model()
    stream = model.stream(PROMPT)
    next(stream)
    assert stepper.open_count == 1
    stream.close()
    stream.close()
    assert stepper.open_count == 0
    assert list(stream) == []
    assert stream.collect().finish_reason == "closed"


def test_leaving_a_loop_over_a_stream_frees_its_sequence() -> None:
    model, stepper = random_model()
    with model.stream(PROMPT) as stream:
        for _ in stream:
            break
    assert stepper.open_count == 0


def test_a_forgotten_stream_frees_its_sequence() -> None:
    model, stepper = random_model()
    stream = model.stream(PROMPT)
    next(stream)
    del stream
    gc.collect()
    assert stepper.open_count == 0


def test_a_stream_that_was_never_started_opens_nothing() -> None:
    model, stepper = random_model()
    model.stream(PROMPT).close()
    assert stepper.sequences == []


def test_an_error_of_the_engine_frees_the_sequence() -> None:
    def failing(ids: list[int]) -> npt.NDArray[np.float32]:
        if len(ids) > len(PROMPT_IDS) + 2:
            raise KeyboardInterrupt
        return pseudo_random_model(ROWS)(ids)

    stepper = FakeStepper(failing, ROWS)
    with pytest.raises(KeyboardInterrupt):
        LanguageModel(stepper, TOKENIZER).generate(PROMPT)
    assert stepper.open_count == 0


def poisoned(after: int) -> FakeStepper:
    """Return a stepper whose logits hold a NaN once a sequence has so many tokens."""

    def model(ids: list[int]) -> npt.NDArray[np.float32]:
        logits = pseudo_random_model(ROWS)(ids)
        if len(ids) >= after:
            logits[17] = np.nan
        return logits

    return FakeStepper(model, ROWS)


@pytest.mark.parametrize("after", [1, len(PROMPT_IDS) + 3])
def test_nan_logits_end_the_answer_with_an_error(after: int) -> None:
    stepper = poisoned(after)
    stream = LanguageModel(stepper, TOKENIZER).stream(PROMPT)
    with pytest.raises(NumericError, match="token 17 is nan"):
        stream.collect()
    assert stepper.sequences[0].length == max(after, len(PROMPT_IDS))
    assert stepper.open_count == 0


def test_two_streams_of_one_model_do_not_disturb_each_other() -> None:
    model, _ = random_model()
    options = SamplingOptions(seed=3)
    alone = model.generate(PROMPT, options=options, max_tokens=10)
    one = model.stream(PROMPT, options=options, max_tokens=10)
    two = model.stream("the dog", max_tokens=10)
    ids: list[int] = []
    for chunk in one:
        ids += chunk.token_ids
        next(two, None)
    two.close()
    assert tuple(ids) == alone.token_ids


def _decoded(backend: Any, ids: Sequence[int]) -> str:
    text: str = backend.decode(list(ids))
    return text


def test_the_answer_to_a_text_goes_on_with_it_space_included() -> None:
    backend = sentencepiece_backend()
    tokenizer = Tokenizer(backend.to_str(), bos_token_id=1, eos_token_ids=[2], add_bos=True)
    prompt = tokenizer.encode("the")
    script = [backend.token_to_id(token) for token in ("▁cat", ",", "</s>")]
    stepper = FakeStepper(scripted_model(400, len(prompt), script), 400)
    answer = LanguageModel(stepper, tokenizer).generate("the", options=GREEDY)
    assert "the" + answer.text == _decoded(backend, [*prompt, *answer.token_ids]) == "the cat,"


def test_timings_add_up() -> None:
    model, _ = saying(" sat on the mat")
    stream = model.stream(PROMPT, options=GREEDY)
    answer = stream.collect()
    times = answer.timings
    assert stream.timings == times
    assert 0 < times.prompt_ms <= times.first_token_ms
    steps = len(answer.token_ids) - 1
    assert times.decode_tok_s == pytest.approx(steps / (times.decode_ms / 1e3))
    assert times.prompt_tok_s == pytest.approx(len(PROMPT_IDS) / (times.prompt_ms / 1e3))
