"""scripts/bench_beside.py: what it starts, what it refuses, and the ratios that it prints."""

from __future__ import annotations

import runpy
import shlex
import sys
from pathlib import Path

import pytest

BESIDE = runpy.run_path(str(Path(__file__).resolve().parents[1] / "scripts" / "bench_beside.py"))
Setting, peer_speeds, table_rows = BESIDE["Setting"], BESIDE["peer_speeds"], BESIDE["table_rows"]

VULKAN = Setting("vulkan", 2, 32, 16)
PEER = """
import json, os, sys
print(sys.argv[1], file=sys.stderr)
print("loading")
print(json.dumps({"pp_tok_s": float(os.environ["LP_NUM_THREADS"]), "tg_tok_s": float(sys.argv[2])}))
"""


def peer(said: str, program: str = PEER) -> str:
    return shlex.join([sys.executable, "-c", program, said, "{answer}"])


def test_placeholders_are_replaced_within_words_and_words_are_kept_whole() -> None:
    command = "node 'my peer.mjs' model.gguf {device} --shape={prompt}x{answer} {threads}"
    assert VULKAN.filled(command) == [
        "node", "my peer.mjs", "model.gguf", "vulkan", "--shape=32x16", "2",
    ]  # fmt: skip


def test_a_peer_on_vulkan_gets_lavapipes_threads_and_its_last_line_counts() -> None:
    assert peer_speeds(peer("gpu: vulkan llvmpipe"), VULKAN) == {"prompt": 2.0, "decode": 16.0}


def test_a_peer_that_fell_back_to_the_cpu_is_no_peer_of_vulkan() -> None:
    with pytest.raises(SystemExit, match="computed on the CPU"):
        peer_speeds(peer("gpu: false"), VULKAN)


def test_what_a_failing_peer_complains_of_is_shown() -> None:
    with pytest.raises(SystemExit, match="no such model"):
        peer_speeds(peer("", "import sys; sys.exit('no such model')"), VULKAN)


def test_ratios_are_those_of_medians() -> None:
    speeds = {
        ("peer", "prompt"): [10.0, 11.0, 100.0],
        ("peer", "decode"): [2.0, 2.5, 2.9],
        ("ours", "prompt"): [110.0, 121.0, 90.0],
        ("ours", "decode"): [25.0, 1.0, 30.0],
    }
    assert table_rows(speeds, ["peer", "ours"], 2) == [
        "| 2 | peer | 11 | 1.00 | 2.5 | 1.00 |",
        "| 2 | ours | 110 | 10.00 | 25 | 10.00 |",
    ]
