"""Small tokenizers and a model of arithmetic, for tests of the runtime's text side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

CORPUS = [
    "the cat sat on the mat, the dog sat on the log; that is that",
    "def f(x):\n    return x + 1\n\n\tprint('naïve café')",
    "日本語のテキスト 日本 한국어 привет привет 😀😀👍🏽 مرحبا",
    "  spaces   here    and there 1234567890 3.14159",
]

END = "<|end|>"


def byte_level_backend(vocab_size: int = 340) -> Backend:
    """Train a byte-level BPE; its last tokens are a special end and a plain added one."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_special_tokens([AddedToken(END, special=True)])
    backend.add_tokens([AddedToken("<tool call>", special=False, normalized=False)])
    return backend


def _sentencepiece_vocab() -> dict[str, int]:
    words = ["▁the", "▁cat", "▁", "▁▁", "▁▁▁", "the", "cat", "é", "日", "本", ",", "\n", "▁😀"]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *words, *letters]
    return {token: rank for rank, token in enumerate(tokens)}


def sentencepiece_backend(*, strip: bool = True) -> Backend:
    """Make a tokenizer as Llama 2's converter writes them: metaspace, byte fallback, strip."""
    backend = Backend(
        models.BPE(
            vocab=_sentencepiece_vocab(),
            merges=[],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if strip:
        steps.append(decoders.Strip(" ", 1, 0))
    backend.decoder = decoders.Sequence(steps)
    backend.add_special_tokens([AddedToken(token, special=True) for token in ("<s>", "</s>")])
    return backend


def metaspace_backend(scheme: str) -> Backend:
    """Make a tokenizer whose decoder is Metaspace, with one of its three prepend schemes."""
    backend = Backend(models.BPE(vocab=_sentencepiece_vocab(), merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Metaspace(prepend_scheme=scheme)
    backend.add_special_tokens([AddedToken(token, special=True) for token in ("<s>", "</s>")])
    return backend


class FakeSequence:
    """The tokens that a fake stepper was given."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.closed = False

    @property
    def length(self) -> int:
        return len(self.ids)


Model = Callable[[list[int]], npt.NDArray[np.float32]]


class FakeStepper:
    """A stepper whose logits are a function of the tokens so far; it checks how it is used."""

    def __init__(
        self, model: Model, vocab_size: int, context_length: int = 64, max_batch: int = 3
    ) -> None:
        self.context_length = context_length
        self.vocab_size = vocab_size
        self.max_batch = max_batch
        self.sequences: list[FakeSequence] = []
        self.batches: list[int] = []
        self._model = model

    @property
    def open_count(self) -> int:
        return sum(not sequence.closed for sequence in self.sequences)

    def open_sequence(self) -> FakeSequence:
        assert self.open_count < self.max_batch, "more sequences than allowed"
        self.sequences.append(FakeSequence())
        return self.sequences[-1]

    def prefill(
        self, sequence: FakeSequence, token_ids: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        return self._append(sequence, token_ids)

    def decode(
        self, sequences: list[FakeSequence], token_ids: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        assert token_ids.shape == (len(sequences),)
        self.batches.append(len(sequences))
        rows = zip(sequences, token_ids, strict=True)
        return np.stack([self._append(sequence, token_ids[None]) for sequence, token_ids in rows])

    def close_sequence(self, sequence: FakeSequence) -> None:
        sequence.closed = True

    def _append(
        self, sequence: FakeSequence, token_ids: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        assert not sequence.closed, "a closed sequence was used"
        assert token_ids.dtype == np.int32
        assert token_ids.size > 0
        sequence.ids += token_ids.tolist()
        assert sequence.length <= self.context_length, "past the context"
        return self._model(sequence.ids)


def pseudo_random_model(vocab_size: int, spread: float = 2.0) -> Model:
    """Return a model whose logits depend on every token so far."""

    def model(ids: list[int]) -> npt.NDArray[np.float32]:
        return (np.random.default_rng(ids).normal(size=vocab_size) * spread).astype(np.float32)

    return model


def scripted_model(vocab_size: int, prompt_tokens: int, script: list[int]) -> Model:
    """Return a model that all but certainly goes on with `script` after the prompt."""

    def model(ids: list[int]) -> npt.NDArray[np.float32]:
        logits = np.zeros(vocab_size, dtype=np.float32)
        logits[script[(len(ids) - prompt_tokens) % len(script)]] = 50.0
        return logits

    return model
