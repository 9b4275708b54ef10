"""Load a tokenizer.json and encode nasty texts with it, in a process that may be killed for it.

Run as a script, by path, with the folder of the `tokenizers` package as its one argument, so that
nothing else of this package is imported. A JSON request comes on standard input, a JSON answer
goes to standard output; see `tokenizer_check.py`. Memory and time are limited before the package
that reads the stranger's file is even imported.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

_MEMORY_BYTES = 2 << 30  # the largest vocabularies need a quarter of it
_CPU_SECONDS = 20


def limit_this_process() -> None:
    """Limit memory and processor time; forbid writing files and core dumps."""
    for kind, amount in (
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (amount, amount))


def examine(request: dict[str, Any]) -> dict[str, Any]:
    """Load the tokenizer, encode and decode every probe, look up ids."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(request["tokenizer"])
    for text in request["probes"]:
        tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids)
    return {
        "largest_id": max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1),
        "empty_ids": tokenizer.encode("", add_special_tokens=True).ids,
        "ids": {token: tokenizer.token_to_id(token) for token in request["tokens"]},
    }


def main() -> None:
    """Answer the request on standard input."""
    limit_this_process()
    sys.path.insert(0, sys.argv[1])
    try:
        answer: dict[str, Any] = {"result": examine(json.loads(sys.stdin.buffer.read()))}
    # Panics of the package derive from BaseException only.
    except BaseException as problem:
        answer = {"error": ascii(str(problem) or type(problem).__name__)[:300]}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
