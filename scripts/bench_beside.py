"""Measure artifacts beside another program in one run, in turns, and print medians as a table.

usage: python scripts/bench_beside.py --peer 'COMMAND with {threads}' ARTIFACT... [--rounds N]

The peer prints a JSON line with pp_tok_s (prompt of 128 tokens) and tg_tok_s (64 tokens). On a
machine that other people use, only the ratio within one run says something.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections import defaultdict
from statistics import median

PROMPT, ANSWER = "128", "64"
Speeds = dict[tuple[str, str], list[float]]  # (name, test) -> tokens per second of each round


def peer_speeds(command: str, threads: int) -> dict[str, float]:
    """Run the peer once and return its tokens per second by test."""
    words = [word.replace("{threads}", str(threads)) for word in shlex.split(command)]
    output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found = json.loads(output.strip().splitlines()[-1])
    return {"prompt": found["pp_tok_s"], "decode": found["tg_tok_s"]}


def artifact_speeds(artifact: str, threads: int) -> dict[str, float]:
    """Run `ferry bench` once and return its median tokens per second by test."""
    command = [sys.executable, "-m", "ferrylm.cli", "bench", artifact, "-o", "json"]
    command += ["-p", PROMPT, "-n", ANSWER, "-t", str(threads), "-r", "5"]
    rows = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {"prompt" if row["n_prompt"] else "decode": median(row["samples_ts"]) for row in rows}


def main() -> None:
    """Take turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True)
    parser.add_argument("artifacts", nargs="+")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print("| threads | what | prompt 128, tok/s | ratio | decode 64, tok/s | ratio |")
    print("|---|---|---|---|---|---|")
    for threads in map(int, asked.threads.split(",")):
        speeds: Speeds = defaultdict(list)
        for _ in range(asked.rounds):
            for test, value in peer_speeds(asked.peer, threads).items():
                speeds["peer", test].append(value)
            for artifact in asked.artifacts:
                for test, value in artifact_speeds(artifact, threads).items():
                    speeds[artifact, test].append(value)
        for name in ("peer", *asked.artifacts):
            cells = []
            for test in ("prompt", "decode"):
                value = median(speeds[name, test])
                cells += [f"{value:.0f}", f"{value / median(speeds['peer', test]):.2f}"]
            print(f"| {threads} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
