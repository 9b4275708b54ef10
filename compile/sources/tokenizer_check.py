"""Try a stranger's tokenizer.json in a child process with limits before anything else reads it.

The `tokenizers` package panics, aborts or runs for hours on crafted files: here such a file costs
a child process, and becomes a TokenizerError.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from ferrylm.errors import TokenizerError

_CHILD = Path(__file__).with_name("tokenizer_check_child.py")
_TIMEOUT_SECONDS = 60.0

# Ordinary text, and runs that send backtracking expressions and growing replacements astray.
PROBES = (
    "The quick brown fox jumps over the lazy dog. 12345 + 67.89 = ?\n\n  def f(x):\n\treturn x\r\n",
    "\u00c4rger \u4f60\u597d \u0645\u0631\u062d\u0628\u0627 \u0928\u092e\u0938\u094d\u0924\u0947 "
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301 \u2581 \x00 \ufffd",
    *(run * 200 + "\x01" for run in ("a", " ", "1", "!", "\n", "ab ", "A1", "\u00e9")),
    "<s></s><unk><pad><|im_start|>" * 20,
)


@dataclass(frozen=True)
class TokenizerFacts:
    """What the child found: the largest id, what an empty text becomes, ids of asked tokens."""

    largest_id: int
    empty_ids: tuple[int, ...]
    ids: dict[str, int]  # without the tokens that do not exist


def check_tokenizer(
    tokenizer_json: str, tokens: Sequence[str], timeout_seconds: float = _TIMEOUT_SECONDS
) -> TokenizerFacts:
    """Load a tokenizer and encode probe texts in a limited child; look up the ids of `tokens`.

    Raises TokenizerError if the file is refused, or the child dies or takes too long.
    """
    request = {"tokenizer": tokenizer_json, "probes": PROBES, "tokens": list(tokens)}
    package_folder = str(Path(tokenizers.__file__).resolve().parent.parent)
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_CHILD), package_folder],
            input=json.dumps(request).encode("ascii"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_seconds,
            env={"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _refused(f"takes more than {timeout_seconds:g} s") from None
    except OSError as problem:
        raise _refused(f"cannot be checked: {problem.strerror}") from None
    if done.returncode < 0:
        raise _refused(f"ends its process with signal {-done.returncode}")
    return _facts(done.stdout)


def _facts(output: bytes) -> TokenizerFacts:
    try:
        answer = json.loads(output)
    except ValueError:
        raise _refused("ends its process") from None
    if "error" in answer:
        raise _refused(f"is refused: {answer['error']}")
    result = answer["result"]
    ids = {token: index for token, index in result["ids"].items() if index is not None}
    return TokenizerFacts(result["largest_id"], tuple(result["empty_ids"]), ids)


def _refused(found: str) -> TokenizerError:
    return TokenizerError(
        f"a tokenizer.json that {found}",
        wanted="one that the tokenizers package can load and use",
        fix="fetch the file again, or do not trust this model",
    )
