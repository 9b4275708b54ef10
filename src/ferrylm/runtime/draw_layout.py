"""What a kernel that draws tokens and the runtime that feeds it say to each other.

A slot holds all that an answer needs while it grows; `slots` of a step says which slot each row
belongs to, -1 for a row of padding. S slots, B rows, V tokens in the vocabulary:

slots      int32 (B,)
steps      int32 (B,): how many steps the rows have made; the kernel counts
settings   int32 (S, SETTINGS): see `Setting`
uniforms   float32 (S, UNIFORMS): numbers of [0, 1), one a draw, used round and round
drawn      int32 (S,): draws so far, of which drawn % UNIFORMS is the next number; the kernel counts
seen       int32 (S, V): bit 0 for tokens of prompt and answer, bit 1 for those of the answer alone
offsets    float32 (S, V): added to a logit: its bias, less presence and frequency penalties
ring       int32 (RING, B, REPORT): step s of a row leaves its report at s % RING, see `Report`
"""

from __future__ import annotations

from enum import IntEnum

UNIFORMS = 1024
RING = 16


class Setting(IntEnum):
    """The columns of settings. All but TOP_K and MARKS are the bits of a float32."""

    TEMPERATURE = 0
    TOP_K = 1  # 0: all
    TOP_P = 2
    MIN_P = 3
    REPETITION = 4  # factor of a negative logit of a seen token
    REPETITION_INVERSE = 5  # of a positive one
    PRESENCE = 6
    FREQUENCY = 7
    MARKS = 8  # bit 0: `seen` counts; bit 1: `offsets` count


class Report(IntEnum):
    """The columns of a report."""

    TOKEN = 0
    NOT_FINITE = 1  # how many logits are no numbers; if there are any, the token means nothing
    FIRST_BAD = 2  # the lowest id of those
    BAD_BITS = 3  # and its logit's bits


SETTINGS = len(Setting)
REPORT = len(Report)
SEEN, ANSWERED = 1, 2  # bits of `seen`
REPEATS, SHIFTS = 1, 2  # bits of MARKS


def slot_bytes(vocab_size: int) -> int:
    """Return the memory of one slot."""
    return 4 * (SETTINGS + UNIFORMS + 1 + 2 * vocab_size)
