"""What a prompt must be before the model sees it: ids of the vocabulary, and room to answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ferrylm.errors import ContextOverflowError, UsageError


def checked_token_ids(token_ids: Sequence[int], vocab_size: int) -> tuple[int, ...]:
    """Return the ids as ints. Raises UsageError for none, and for one the model has no row for."""
    try:
        ids = np.asarray(token_ids)
    except (TypeError, ValueError, OverflowError):
        ids = np.empty((0, 0))
    if ids.ndim == 1 and ids.size == 0:
        raise UsageError(
            "a prompt without tokens", wanted="at least one", fix="give a text that is not empty"
        )
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise UsageError("token ids that are no integers", wanted="a list of ints", fix="pass ids")
    wrong = ids[(ids < 0) | (ids >= vocab_size)]
    if wrong.size:
        raise UsageError(
            f"the token id {wrong[0]}",
            wanted=f"ids from 0 to {vocab_size - 1}",
            fix="use this model's own tokenizer",
        )
    return tuple(int(token_id) for token_id in ids)


def room_for_answer(prompt_tokens: int, max_tokens: int | None, context_length: int) -> int:
    """Return how many tokens the answer may have; None asks for all that the context has left.

    Raises ContextOverflowError where prompt and answer do not fit: nothing is ever cut off
    silently. Raises UsageError for a `max_tokens` that is no positive integer.
    """
    if max_tokens is not None and (
        isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1
    ):
        raise UsageError(
            f"max_tokens is {ascii(max_tokens)[:40]}",
            wanted="an integer of at least 1",
            fix="give another max_tokens, or leave it out",
        )
    answer_tokens = 1 if max_tokens is None else max_tokens
    if prompt_tokens + answer_tokens > context_length:
        asked = "" if max_tokens is None else f" and max_tokens of {max_tokens}"
        raise ContextOverflowError(
            f"a prompt of {prompt_tokens} tokens{asked}",
            wanted=f"at most {context_length} tokens for prompt and answer together",
            fix="shorten the prompt, lower max_tokens, or load the model with a longer context",
        )
    return context_length - prompt_tokens if max_tokens is None else max_tokens
