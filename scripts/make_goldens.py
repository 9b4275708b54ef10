"""Make the files of tests/golden anew; needs torch, transformers and gguf. See docs/correctness.md.

usage: python scripts/make_goldens.py GGUF [token-ids | logits | greedy | rope | families] ...
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from goldens_files import GOLDEN_FOLDER, SMOLLM2_SHA256

KINDS = ("token-ids", "logits", "greedy", "rope", "families")


def main() -> None:
    """Make the wanted goldens, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", type=Path, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="default: all")
    arguments = parser.parse_args()
    digest = hashlib.sha256(arguments.gguf.read_bytes()).hexdigest()
    if digest != SMOLLM2_SHA256:
        parser.error(f"SHA-256 {digest}; wanted {SMOLLM2_SHA256}; take the Q4_1 file named above")
    for kind in arguments.kinds or KINDS:
        make(kind, arguments.gguf)


def make(kind: str, gguf_path: Path) -> None:
    """Make one golden; torch is loaded only for those that need it."""
    if kind == "token-ids":
        from goldens_tokenizer import make_token_ids

        make_token_ids(gguf_path, GOLDEN_FOLDER / "smollm2_token_ids.json")
        return

    import torch

    # One thread: the sums then have one order, and the golden comes out the same again.
    torch.set_num_threads(1)
    if kind == "rope":
        from goldens_rope import make_rope_logits

        make_rope_logits(GOLDEN_FOLDER / "tiny_rope_logits.npz")
        return
    if kind == "families":
        from goldens_families import make_family_logits

        make_family_logits(GOLDEN_FOLDER / "tiny_family_logits.npz")
        return
    from goldens_model import make_greedy, make_logits

    if kind == "logits":
        make_logits(gguf_path, GOLDEN_FOLDER / "smollm2_logits.npz")
    else:
        make_greedy(gguf_path, GOLDEN_FOLDER / "smollm2_greedy.json")


if __name__ == "__main__":
    main()
