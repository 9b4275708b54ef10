"""SentencePiece's BPE, as Llama 2 and Mistral use it, in terms of the `tokenizers` package.

SentencePiece joins the two neighbours whose union has the highest score; ranked merges do the
same. Spaces become U+2581; characters without a piece fall back to their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ferrylm.errors import TokenizerError
from ferrylm.runtime.strict_json import JsonValue

SPACE = "\u2581"
_MAX_PIECE_CHARACTERS = 512  # longer ones would cost time quadratic in their length


def scores_to_merges(
    pieces: Mapping[str, int], scores: NDArray[np.float64]
) -> list[tuple[str, str]]:
    """Return all merges of two pieces that give a third, the highest score of the result first.

    `pieces` maps the ordinary pieces to their ids, `scores` is indexed by id. Raises
    TokenizerError for an absurdly long piece.
    """
    ranked: list[tuple[float, int, int, int, tuple[str, str]]] = []
    for piece, index in pieces.items():
        if len(piece) > _MAX_PIECE_CHARACTERS:
            raise TokenizerError(
                f"a SentencePiece piece of {len(piece)} characters",
                wanted=f"pieces of at most {_MAX_PIECE_CHARACTERS}",
                fix="fetch or convert the file again",
            )
        for cut in range(1, len(piece)):
            left, right = pieces.get(piece[:cut]), pieces.get(piece[cut:])
            if left is not None and right is not None:
                pair = (piece[:cut], piece[cut:])
                ranked.append((-float(scores[index]), index, left, right, pair))
    ranked.sort()
    return [pair for *_, pair in ranked]


def sentencepiece_normalizer(adds_space: bool) -> JsonValue:
    """Return the normalizer that turns spaces into U+2581, one before the text if wanted."""
    replace: JsonValue = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prepend: JsonValue = {"type": "Prepend", "prepend": SPACE}
    return {"type": "Sequence", "normalizers": [prepend, replace] if adds_space else [replace]}


def sentencepiece_decoder(adds_space: bool) -> JsonValue:
    """Return the decoder that undoes the normalizer and joins bytes into characters."""
    steps: list[JsonValue] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if adds_space:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}
