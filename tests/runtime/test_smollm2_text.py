"""The text side on a real model: ids, conversations and answers of SmolLM2-135M-Instruct."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ferrylm
from ferrylm import LanguageModel, SamplingOptions

pytestmark = pytest.mark.model

GOLDEN = Path(__file__).parents[1] / "golden" / "smollm2_token_ids.json"
USER = [{"role": "user", "content": "Name three colours."}]


@pytest.fixture(scope="module")
def model() -> Iterator[LanguageModel]:
    path = os.environ.get("FERRY_TEST_ARTIFACT")
    if path is None:
        pytest.skip("FERRY_TEST_ARTIFACT names no artifact")
    with ferrylm.load(path, "cpu", context_length=512, max_sequences=3) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def golden() -> Any:
    """Ids and prompts that transformers made; see scripts/make_goldens.py."""
    return json.loads(GOLDEN.read_text())


def test_texts_have_the_ids_that_transformers_gives_them(model: LanguageModel, golden: Any) -> None:
    for case in golden["texts"]:
        found = model.tokenize(case["text"], add_special_tokens=case["add_special_tokens"])
        assert found == case["ids"], case["text"]


def test_conversations_have_the_prompts_that_transformers_gives_them(
    model: LanguageModel, golden: Any
) -> None:
    for case in golden["chats"]:
        prompt = model.apply_chat_template(
            case["messages"], add_generation_prompt=case["add_generation_prompt"]
        )
        assert prompt == case["text"]
        assert model.tokenize(prompt, add_special_tokens=False) == case["ids"]


def test_a_stream_adds_up_to_the_answer(model: LanguageModel) -> None:
    options = SamplingOptions(temperature=0.8, seed=5)
    chunks = list(model.stream(USER, options=options, max_tokens=40))
    answer = model.generate(USER, options=options, max_tokens=40)
    assert "".join(chunk.text for chunk in chunks) == answer.text
    assert answer.text.strip()
    assert model.detokenize(answer.token_ids) == answer.text


def test_a_batch_gives_the_answers_of_single_runs(model: LanguageModel) -> None:
    prompts = [USER, "Once upon a time", "def f(x):", "1, 2, 3,"]
    options = SamplingOptions(temperature=0.8, seed=6, logprobs=True)
    together = model.generate_batch(prompts, options=options, max_tokens=16)
    for prompt, answer in zip(prompts, together, strict=True):
        alone = model.generate(prompt, options=options, max_tokens=16)
        assert answer.token_ids == alone.token_ids
        assert answer.logprobs == alone.logprobs


def test_logprobs_agree_with_a_prompt_that_holds_the_answer(model: LanguageModel) -> None:
    """Prefill after the answer's first half predicts what decode predicted step by step."""
    options = SamplingOptions(temperature=0, logprobs=True)
    answer = model.generate("The capital of France is", options=options, max_tokens=8)
    assert answer.logprobs is not None
    ids = [*model.tokenize("The capital of France is"), *answer.token_ids[:4]]
    rest = model.generate(token_ids=ids, options=options, max_tokens=4)
    assert rest.logprobs is not None
    for stepwise, at_once in zip(answer.logprobs[4:], rest.logprobs, strict=True):
        assert stepwise.logprob == pytest.approx(at_once.logprob, abs=0.05)
