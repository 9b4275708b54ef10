"""What `ferry bench` measures: the tests, and the lists of numbers they are given as."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ferrylm.errors import UsageError

MAX_VALUES = 256
_RANGE = re.compile(r"(\d+)-(\d+)(?:([+*])(\d+))?")


@dataclass(frozen=True)
class BenchTest:
    """One test: reading a prompt, or generating tokens, behind `depth` tokens of context.

    Exactly one of `prompt_tokens` and `generated_tokens` is not 0. Tokens are generated in each of
    `sequences` sequences at once; a prompt is read in one.
    """

    prompt_tokens: int
    generated_tokens: int
    depth: int
    sequences: int = 1

    @property
    def name(self) -> str:
        """Return llama-bench's name: "pp512", "tg128", "tg128 @ d4096"; "8x tg128" for a batch."""
        kind = f"pp{self.prompt_tokens}" if self.prompt_tokens else f"tg{self.generated_tokens}"
        several = f"{self.sequences}x " if self.sequences > 1 else ""
        return f"{several}{kind} @ d{self.depth}" if self.depth else f"{several}{kind}"

    @property
    def timed_tokens(self) -> int:
        """Return how many tokens the measured time covers, in all sequences."""
        return self.prompt_tokens or self.generated_tokens * self.sequences

    @property
    def untimed_tokens(self) -> int:
        """Return how many tokens of a sequence are read before the clock starts.

        At depth 0 generation starts behind one token, because a sequence needs a first one.
        """
        return self.depth if self.prompt_tokens else max(self.depth, 1)

    @property
    def context_tokens(self) -> int:
        """Return the context that the test fills in each sequence."""
        return self.untimed_tokens + (self.prompt_tokens or self.generated_tokens)


def plan_tests(
    prompts: list[int], generations: list[int], depths: list[int], sequences: int = 1
) -> list[BenchTest]:
    """Return all tests, prompts before generations at each depth; zeros ask for none.

    Raises UsageError if nothing is left to measure.
    """
    tests = [
        test
        for depth in depths
        for test in (
            *(BenchTest(count, 0, depth) for count in prompts if count),
            *(BenchTest(0, count, depth, sequences) for count in generations if count),
        )
    ]
    if not tests:
        raise UsageError(
            "nothing to measure", wanted="a prompt or a generation", fix="give -p or -n a number"
        )
    return tests


def parse_numbers(text: str, *, smallest: int, option: str) -> list[int]:
    """Read "8", "1,2,4", "1-4", "16-64+16" or "128-2048*2" as llama-bench does.

    Raises UsageError for anything else, for numbers below `smallest` and for more than
    MAX_VALUES of them.
    """
    values: list[int] = []
    for part in text.split(","):
        values.extend(_expand(part.strip(), text, option))
        if len(values) > MAX_VALUES:
            raise _bad_list(text, option, f"at most {MAX_VALUES} numbers")
    if min(values) < smallest:
        raise _bad_list(text, option, f"numbers from {smallest} up")
    return values


def _expand(part: str, text: str, option: str) -> list[int]:
    if part.isascii() and part.isdigit() and len(part) < 10:
        return [int(part)]
    match = _RANGE.fullmatch(part)
    if match is None or any(len(digits or "") > 9 for digits in match.group(1, 2, 4)):
        raise _bad_list(text, option, "numbers as 128, 1,2,4, 1-4, 16-64+16 or 128-2048*2")
    first, last = int(match[1]), int(match[2])
    multiply, step = match[3] == "*", int(match[4] or 1)
    if first > last or step < (2 if multiply else 1) or (multiply and first == 0):
        raise _bad_list(text, option, "a range that grows from its first to its last number")
    values: list[int] = []
    value = first
    while value <= last and len(values) <= MAX_VALUES:
        values.append(value)
        value = value * step if multiply else value + step
    return values


def _bad_list(text: str, option: str, wanted: str) -> UsageError:
    return UsageError(f"{option} {text!a}", wanted=wanted, fix=f"correct {option}")
