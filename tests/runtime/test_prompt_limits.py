"""Prompts and answers that cannot be are refused before anything is computed."""

from __future__ import annotations

from typing import Any

import pytest
from text_fakes import END, FakeStepper, byte_level_backend, pseudo_random_model

from ferrylm.errors import ContextOverflowError, UsageError
from ferrylm.runtime.model import LanguageModel
from ferrylm.runtime.tokenizer import Tokenizer

BACKEND = byte_level_backend()
ROWS = 352
END_ID = BACKEND.token_to_id(END)
TOKENIZER = Tokenizer(BACKEND.to_str(), eos_token_ids=[END_ID])
PROMPT = "the cat"


def random_model(**changes: Any) -> tuple[LanguageModel, FakeStepper]:
    stepper = FakeStepper(pseudo_random_model(ROWS), ROWS, **changes)
    return LanguageModel(stepper, TOKENIZER), stepper


def test_a_prompt_longer_than_the_context_is_refused_before_any_step() -> None:
    model, stepper = random_model(context_length=5)
    ids = list(range(6))
    with pytest.raises(ContextOverflowError, match=r"6 tokens.*at most 5"):
        model.stream(token_ids=ids)
    assert stepper.sequences == []


def test_max_tokens_that_do_not_fit_are_refused_with_all_counts() -> None:
    model, stepper = random_model(context_length=10)
    with pytest.raises(ContextOverflowError, match=r"4 tokens.*max_tokens of 7.*at most 10"):
        model.generate(token_ids=[1, 2, 3, 4], max_tokens=7)
    assert stepper.sequences == []
    assert len(model.generate(token_ids=[1, 2, 3, 4], max_tokens=6, ignore_eos=True).token_ids) == 6


def test_a_prompt_that_fills_the_context_leaves_no_room_to_answer() -> None:
    model, _ = random_model(context_length=4)
    with pytest.raises(ContextOverflowError, match="4 tokens"):
        model.generate(token_ids=[1, 2, 3, 4])
    assert len(model.generate(token_ids=[1, 2, 3], ignore_eos=True).token_ids) == 1


@pytest.mark.parametrize("max_tokens", [0, -1, True, 1.5, "3"])
def test_max_tokens_must_be_a_positive_integer(max_tokens: Any) -> None:
    with pytest.raises(UsageError, match="max_tokens"):
        random_model()[0].stream(PROMPT, max_tokens=max_tokens)


@pytest.mark.parametrize(
    ("token_ids", "found"),
    [([], "without tokens"), ([1, ROWS], str(ROWS)), ([-1], "-1"), ([1.5], "no integers"),
     ([[1]], "no integers"), (["a"], "no integers"), ([2**70], "no integers"), ([True], "no int")],
)  # fmt: skip
def test_token_ids_must_be_ids_of_the_model(token_ids: Any, found: str) -> None:
    with pytest.raises(UsageError, match=found):
        random_model()[0].stream(token_ids=token_ids)


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(UsageError, match="without tokens"):
        random_model()[0].generate("")
