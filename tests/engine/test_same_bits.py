"""However tokens reach the engine, a token's logits are the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.opened import OpenEngine, prefilled, stepped, token_ids

RECIPES = ("plain", "wide heads", "bytes", "int16", "int8")


@pytest.mark.parametrize("recipe", RECIPES)
def test_prefill_chunks_steps_and_scores_agree(recipe: str, open_engine: OpenEngine) -> None:
    _, engine = open_engine(recipe)
    count = min(engine.context_length, 70)
    ids = token_ids(engine, count)
    wanted = stepped(engine, ids)
    np.testing.assert_array_equal(engine.score(ids), wanted)
    generator = np.random.default_rng(1)
    splits = [[], [1], [count - 1], *(sorted(generator.integers(1, count, 3)) for _ in range(4))]
    for chunks in splits:
        bounds = sorted(set(map(int, chunks)))
        sequence, logits = prefilled(engine, ids, bounds)
        np.testing.assert_array_equal(logits, wanted[-1], err_msg=str(bounds))
        engine.close_sequence(sequence)


@pytest.mark.parametrize("recipe", ["plain", "int16"])
def test_every_length_around_a_page_boundary_agrees(recipe: str, open_engine: OpenEngine) -> None:
    for page_size in (32, 64):
        _, engine = open_engine(recipe, page_size=page_size)
        ids = token_ids(engine, 130)
        wanted = stepped(engine, ids)
        for count in (1, 31, 32, 33, 63, 64, 65, 127, 128, 129):
            sequence, logits = prefilled(engine, ids[:count])
            np.testing.assert_array_equal(logits, wanted[count - 1], err_msg=str(count))
            after = engine.decode([sequence], ids[count : count + 1])[0]
            np.testing.assert_array_equal(after, wanted[count])
            engine.close_sequence(sequence)


@pytest.mark.parametrize("recipe", ["plain", "int16"])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9])
def test_a_batch_gives_what_each_sequence_gives_alone(
    recipe: str, count: int, open_engine: OpenEngine
) -> None:
    _, engine = open_engine(recipe, max_sequences=10)
    texts = [token_ids(engine, 5 + 13 * i, seed=i) for i in range(count)]
    wanted = [stepped(engine, text)[-3:] for text in texts]
    sequences = [prefilled(engine, text[:-3])[0] for text in texts]
    for step in range(3):
        ids = np.array([text[step - 3] for text in texts], np.int32)
        found = engine.decode(sequences, ids)
        np.testing.assert_array_equal(found, [logits[step] for logits in wanted])


@pytest.mark.parametrize("recipe", ["plain", "int16", "int8"])
def test_two_threads_give_the_bits_of_one(recipe: str, open_engine: OpenEngine) -> None:
    _, one = open_engine(recipe, threads=1)
    _, two = open_engine(recipe, threads=2)
    ids = token_ids(one, min(one.context_length, 60))
    np.testing.assert_array_equal(two.score(ids), one.score(ids))
    np.testing.assert_array_equal(stepped(two, ids[:8]), stepped(one, ids[:8]))


def test_a_prompt_longer_than_a_chunk_of_prefill_agrees(open_engine: OpenEngine) -> None:
    # The library's chunk is longer than the tiny models' context: the engine is told otherwise.
    _, engine = open_engine("plain")
    ids = token_ids(engine, 150)
    wanted = engine.score(ids)
    short = engine.library.__class__(**{**vars(engine.library), "prefill_chunk": 16})
    engine.library = short
    np.testing.assert_array_equal(engine.score(ids), wanted)


def test_interleaved_sequences_do_not_disturb_each_other(open_engine: OpenEngine) -> None:
    _, engine = open_engine("plain", max_sequences=4)
    texts = [token_ids(engine, 80, seed=seed) for seed in range(3)]
    wanted = [stepped(engine, text) for text in texts]
    sequences = [engine.open_sequence() for _ in texts]
    done = [0, 0, 0]
    generator = np.random.default_rng(5)
    while min(done) < 70:
        which = int(generator.integers(0, 3))
        count = int(min(generator.integers(1, 30), 80 - done[which]))
        if count:
            part = texts[which][done[which] : done[which] + count]
            logits = engine.prefill(sequences[which], part)
            done[which] += count
            np.testing.assert_array_equal(logits, wanted[which][done[which] - 1])
        ready = [i for i in generator.permutation(3) if done[i] < 80]
        if ready:
            ids = np.array([texts[i][done[i]] for i in ready], np.int32)
            found = engine.decode([sequences[i] for i in ready], ids)
            for row, i in zip(found, ready, strict=True):
                np.testing.assert_array_equal(row, wanted[i][done[i]])
                done[i] += 1


def test_memory_of_closed_sequences_does_no_harm(open_engine: OpenEngine) -> None:
    _, engine = open_engine("plain", max_sequences=2)
    ids = token_ids(engine, 90)
    wanted = stepped(engine, ids)
    for keys, values in zip(*engine._storage.tensors(), strict=True):
        engine.backend.download(keys)[...] = np.float32(3e30)
        engine.backend.download(values)[...] = np.inf
    engine._pool._used_before.update(range(engine._pool.free_pages))
    for _ in range(3):
        other, _ = prefilled(engine, token_ids(engine, 150, seed=9))
        sequence, logits = prefilled(engine, ids[:40])
        engine.close_sequence(other)
        np.testing.assert_array_equal(logits, wanted[39])
        for i in range(40, 90):
            np.testing.assert_array_equal(engine.decode([sequence], ids[i : i + 1])[0], wanted[i])
        engine.close_sequence(sequence)
