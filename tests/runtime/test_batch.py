"""Prompts decoded together give the answers they get alone, and share the places fairly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_fakes import END, FakeStepper, byte_level_backend, pseudo_random_model

from ferrylm.errors import NumericError
from ferrylm.runtime.model import LanguageModel
from ferrylm.runtime.sampling_options import SamplingOptions
from ferrylm.runtime.tokenizer import Tokenizer

BACKEND = byte_level_backend()
ROWS = 352
END_ID = BACKEND.token_to_id(END)
TOKENIZER = Tokenizer(BACKEND.to_str(), eos_token_ids=[END_ID])
PROMPT = "the cat"
GREEDY = SamplingOptions(temperature=0)


def random_model(**changes: Any) -> tuple[LanguageModel, FakeStepper]:
    stepper = FakeStepper(pseudo_random_model(ROWS), ROWS, **changes)
    return LanguageModel(stepper, TOKENIZER), stepper


@given(
    prompts=st.lists(st.text("abc the", min_size=1, max_size=10), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
    max_batch=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_a_batch_gives_each_prompt_the_answer_it_gets_alone(
    prompts: list[str], seed: int, max_batch: int
) -> None:
    model, stepper = random_model(max_batch=max_batch)
    options = SamplingOptions(temperature=1.5, seed=seed, presence_penalty=0.5, logprobs=True)
    together = model.generate_batch(prompts, options=options, max_tokens=12, stop="a")
    assert stepper.open_count == 0
    for prompt, answer in zip(prompts, together, strict=True):
        alone = model.generate(prompt, options=options, max_tokens=12, stop="a")
        assert (answer.text, answer.token_ids, answer.finish_reason, answer.logprobs) == (
            alone.text, alone.token_ids, alone.finish_reason, alone.logprobs,
        )  # fmt: skip


def test_a_finished_sequence_makes_room_for_the_next() -> None:
    """Five answers of unlike lengths, three at a time: no step runs with an idle place."""
    lengths = {1: 2, 2: 9, 3: 4, 4: 6, 5: 3}

    def model(ids: list[int]) -> npt.NDArray[np.float32]:
        logits = np.zeros(ROWS, dtype=np.float32)
        done = len(ids) >= lengths[ids[0]]
        logits[END_ID if done else 60] = 9.0
        return logits

    stepper = FakeStepper(model, ROWS, max_batch=3)
    answers = LanguageModel(stepper, _tokenizer_of_single_ids()).generate_batch(
        ["\x01", "\x02", "\x03", "\x04", "\x05"], options=GREEDY
    )
    assert [len(answer.token_ids) for answer in answers] == [2, 9, 4, 6, 3]
    assert sum(stepper.batches) == sum(n - 1 for n in lengths.values())
    assert max(stepper.batches) == 3
    assert stepper.open_count == 0


def _tokenizer_of_single_ids() -> Any:
    class Single(Tokenizer):
        def encode(self, text: str, **_: Any) -> list[int]:
            return [ord(text)]

    return Single(BACKEND.to_str(), eos_token_ids=[END_ID])


def test_an_error_in_a_batch_frees_all_sequences() -> None:
    def model(ids: list[int]) -> npt.NDArray[np.float32]:
        logits = pseudo_random_model(ROWS)(ids)
        return logits * np.float32(np.nan) if len(ids) > 8 else logits

    stepper = FakeStepper(model, ROWS)
    with pytest.raises(NumericError):
        LanguageModel(stepper, TOKENIZER).generate_batch([PROMPT] * 5, ignore_eos=True)
    assert stepper.open_count == 0
