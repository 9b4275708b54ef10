"""Text from tokens, one token at a time."""

from __future__ import annotations

import codecs
from collections.abc import Callable

from ferrylm.runtime.token_bytes import TextRule

_decoder = codecs.getincrementaldecoder("utf-8")


class StreamDecoder:
    """The text of a growing list of tokens.

    The pieces that `push` and `finish` return, put together, are the text of all tokens. A
    character whose bytes have not all arrived is held back; bytes that are no UTF-8 become
    U+FFFD, one per maximal ill-formed part (Unicode 15.0, section 3.9). Each token costs the
    time of its own bytes, however long the text.
    """

    def __init__(
        self, rule: TextRule, token_text: Callable[[int], str | None], *, continues: bool = False
    ) -> None:
        """Begin a text, or go on with one: then its first space is kept.

        `token_text` returns the vocabulary's text of an id, None for one that adds nothing.
        """
        self._rule = rule
        self._token_text = token_text
        self._utf8 = _decoder(errors="replace")
        self._first = rule.first_token if not continues else None
        self._strip_spaces = rule.strip_spaces if not continues else 0

    def push(self, token_id: int) -> str:
        """Take one token; return the text that is certain now, often none."""
        token = self._token_text(token_id)
        if token is None:
            return ""
        to_bytes = self._first or self._rule.to_bytes
        self._first = None
        piece = to_bytes(token)
        if self._strip_spaces and piece:
            piece = self._strip(piece)
        return self._utf8.decode(piece)

    def finish(self) -> str:
        """Return what was held back, as U+FFFD; the text ends here."""
        return self._utf8.decode(b"", final=True)

    def _strip(self, piece: bytes) -> bytes:
        spaces = len(piece) - len(piece.lstrip(b" "))
        dropped = min(spaces, self._strip_spaces)
        only_spaces = spaces == len(piece)
        self._strip_spaces = self._strip_spaces - dropped if only_spaces else 0
        return piece[dropped:]
