"""Text to token ids and back, with the tokenizer file of an artifact."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ferrylm.errors import FerryError, TokenizerError, UsageError
from ferrylm.runtime import manifest
from ferrylm.runtime.detokenizer import StreamDecoder
from ferrylm.runtime.token_bytes import rule_of
from ferrylm.runtime.tokenizer_growth import growth_of
from ferrylm.runtime.tokenizer_probe import probe_sha256

if TYPE_CHECKING:
    from ferrylm.runtime.artifact import Artifact

MAX_FILE_BYTES = 64 << 20
MAX_TEXT_CHARACTERS = 64 << 20  # after every rewriting step at its worst

_SURROGATE = re.compile("[\ud800-\udfff]")
_FIX_FILE = "take the model from its maker again, or report this tokenizer"


class Tokenizer:
    """A tokenizer.json (Hugging Face tokenizers) and what the artifact says of it.

    Any thread may call it. Whatever the file holds, the errors are TokenizerErrors.
    """

    def __init__(
        self,
        json_text: str,
        *,
        bos_token_id: int | None = None,
        eos_token_ids: Iterable[int] = (),
        add_bos: bool = False,
    ) -> None:
        """Build the tokenizer; `add_bos` says whether a plain prompt begins with bos.

        Raises TokenizerError.
        """
        self.bos_token_id = bos_token_id
        self.eos_token_ids = frozenset(eos_token_ids)
        self.add_bos = add_bos
        self._lock = threading.Lock()
        with _guarded("the tokenizer file cannot be read"):
            from tokenizers import Tokenizer as Backend

            self._backend = Backend.from_str(json_text)
            # Both only make sense for batches of training, and their settings may panic.
            self._backend.no_padding()
            self._backend.no_truncation()
            growth = growth_of(_state(self._backend.normalizer))
            decoder_state = _state(self._backend.decoder)
            growth_of(decoder_state)
            self._rule = rule_of(decoder_state)
            added = self._backend.get_added_tokens_decoder()
        self._max_characters = MAX_TEXT_CHARACTERS // growth
        named = self.eos_token_ids | ({bos_token_id} if bos_token_id is not None else set())
        self.special_ids = named | {id_ for id_, token in added.items() if token.special}
        """Ids that are no text: bos, eos and the added tokens marked special."""

    @property
    def vocab_size(self) -> int:
        """Return the number of tokens, added ones included."""
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    def encode(
        self, text: str, *, add_special_tokens: bool = True, parse_special: bool = True
    ) -> list[int]:
        """Return the token ids of a text.

        `add_special_tokens` puts bos in front if the model wants it and the text does not begin
        with it. `parse_special` reads the text of a special token as that token, as Hugging Face
        does; False takes it as plain characters. Lone surrogates count as U+FFFD.

        Raises UsageError for what is no text or is too long, TokenizerError if the file's rules
        fail on it.
        """
        text = self._checked_text(text)
        with self._lock, _guarded("the tokenizer cannot encode this text"):
            self._backend.encode_special_tokens = not parse_special
            ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        bos = self.bos_token_id
        if add_special_tokens and self.add_bos and bos is not None and ids[:1] != [bos]:
            return [bos, *ids]
        return ids

    def decode(self, token_ids: Iterable[int], *, skip_special: bool = True) -> str:
        """Return the text of token ids: what `stream_decoder` gives piece by piece.

        Raises UsageError for an id outside the vocabulary.
        """
        decoder = self.stream_decoder(skip_special=skip_special)
        pieces = []
        for token_id in token_ids:
            if self.token_text(token_id) is None:
                raise UsageError(
                    f"the token id {ascii(token_id)[:40]}",
                    wanted=f"ids of the {self.vocab_size} tokens of the vocabulary",
                    fix="decode ids of this model only",
                )
            pieces.append(decoder.push(token_id))
        return "".join(pieces) + decoder.finish()

    def stream_decoder(
        self, *, continues: bool = False, skip_special: bool = True
    ) -> StreamDecoder:
        """Return a decoder of tokens one by one; `continues` keeps the text's first space.

        An id outside the vocabulary adds nothing: models have more rows than tokens.
        """

        def token_text(token_id: int) -> str | None:
            hidden = skip_special and token_id in self.special_ids
            return None if hidden else self.token_text(token_id)

        return StreamDecoder(self._rule, token_text, continues=continues)

    def token_text(self, token_id: int) -> str | None:
        """Return a token as the vocabulary writes it, None for an id it does not have."""
        try:
            text: str | None = self._backend.id_to_token(token_id)
        except (OverflowError, TypeError):
            return None
        return text

    def token_bytes(self, token_id: int) -> bytes:
        """Return what a token adds inside a text, special ones by their names; b"" if unknown."""
        text = self.token_text(token_id)
        if text is None:
            return b""
        return text.encode() if token_id in self.special_ids else self._rule.to_bytes(text)

    def _checked_text(self, text: str) -> str:
        if not isinstance(text, str):
            raise UsageError(
                f"a prompt of type {type(text).__name__}", wanted="str", fix="decode it first"
            )
        if len(text) > self._max_characters:
            raise UsageError(
                f"a text of {len(text)} characters",
                wanted=f"at most {self._max_characters}",
                fix="give a shorter text",
            )
        try:
            text.encode()
        except UnicodeEncodeError:
            return _SURROGATE.sub("\ufffd", text)
        return text


def load_tokenizer(artifact: Artifact) -> Tokenizer:
    """Load an artifact's tokenizer and check that it is the one the artifact was made with.

    Raises IntegrityError for a damaged file, TokenizerError for one that cannot be used with
    the model or gives other tokens than it gave when the artifact was compiled.
    """
    entry = artifact.manifest.tokenizer
    if entry is None:
        raise TokenizerError(
            f"{artifact.manifest.name} has no tokenizer",
            wanted="one that was compiled from a model folder or a GGUF file",
            fix="compile the model together with its tokenizer",
        )
    data = artifact.read_verified(entry.file, MAX_FILE_BYTES)
    tokenizer = Tokenizer(
        data.decode("utf-8", errors="replace"),
        bos_token_id=entry.bos_token_id,
        eos_token_ids=entry.eos_token_ids,
        add_bos=entry.add_bos,
    )
    _check_fit(tokenizer, entry, artifact.manifest.model.vocab_size)
    return tokenizer


def _check_fit(tokenizer: Tokenizer, entry: manifest.Tokenizer, model_rows: int) -> None:
    if tokenizer.vocab_size > model_rows:
        raise TokenizerError(
            f"a tokenizer of {tokenizer.vocab_size} tokens",
            wanted=f"at most the model's {model_rows} rows",
            fix=_FIX_FILE,
        )
    highest = max(tokenizer.special_ids, default=0)
    if highest >= model_rows:
        raise TokenizerError(
            f"the special token {highest}", wanted=f"an id below {model_rows}", fix=_FIX_FILE
        )
    probe = probe_sha256(tokenizer)
    if probe != entry.probe_sha256:
        raise TokenizerError(
            f"token ids of the probe text that hash to {probe[:12]}",
            wanted=f"{entry.probe_sha256[:12]} as when the artifact was compiled",
            fix="compile the model again with the installed version of tokenizers",
        )


def _state(component: Any) -> bytes | None:
    return None if component is None else component.__getstate__()


@contextmanager
def _guarded(failure: str) -> Iterator[None]:
    """Turn whatever tokenizers raises into a TokenizerError.

    Its panics are BaseExceptions (pyo3's PanicException), which `except Exception` lets pass.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, FerryError):
        raise
    except BaseException as problem:
        reason = ascii(str(problem))[1:-1][:200]
        raise TokenizerError(
            f"{failure} ({reason})", wanted="a working tokenizer.json", fix=_FIX_FILE
        ) from None
