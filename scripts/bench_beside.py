"""Measure artifacts beside another program in one run, in turns, and print medians as a table.

usage: python scripts/bench_beside.py --peer COMMAND ARTIFACT... [--device cpu|vulkan]
           [--threads 1,2] [--prompt N] [--answer N] [--rounds N]

In COMMAND, {device}, {threads}, {prompt} and {answer} are replaced. The peer's last line on
standard output is a JSON object with pp_tok_s and tg_tok_s; with --device vulkan a line "gpu:
vulkan ..." on its standard error has to say that it did not fall back to the CPU. With Vulkan,
lavapipe takes {threads} threads for both programs, if lavapipe it is.

On a machine that other people use, only the ratio within one run says something.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from statistics import median

TESTS = ("prompt", "decode")
REPETITIONS = {"cpu": 5, "vulkan": 1}
DEFAULT_TOKENS = {"cpu": (128, 64), "vulkan": (32, 16)}  # of the prompt and of the answer
Speeds = dict[tuple[str, str], list[float]]  # (name, test) -> tokens per second of each round


@dataclass(frozen=True)
class Setting:
    """What both programs are asked to do."""

    device: str
    threads: int
    prompt: int
    answer: int

    def filled(self, command: str) -> list[str]:
        """Return the words of a command with this setting in its placeholders."""
        values = {
            "{device}": self.device,
            "{threads}": str(self.threads),
            "{prompt}": str(self.prompt),
            "{answer}": str(self.answer),
        }
        words = shlex.split(command)
        for placeholder, value in values.items():
            words = [word.replace(placeholder, value) for word in words]
        return words

    def environment(self) -> dict[str, str]:
        """Return the environment of both programs.

        llama.cpp leaves software devices out unless one is named, and then computes on the CPU.
        """
        if self.device != "vulkan":
            return dict(os.environ)
        own = {"LP_NUM_THREADS": str(self.threads), "GGML_VK_VISIBLE_DEVICES": "0"}
        return {"XDG_RUNTIME_DIR": "/tmp"} | os.environ | own


def output_of(words: list[str], setting: Setting) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; what it complains of ends this one."""
    run = subprocess.run(
        words, capture_output=True, text=True, env=setting.environment(), check=False
    )
    if run.returncode:
        sys.exit(f"{shlex.join(words)} failed:\n{run.stderr.strip()}")
    return run


def peer_speeds(command: str, setting: Setting) -> dict[str, float]:
    """Run the peer once and return its tokens per second by test."""
    run = output_of(setting.filled(command), setting)
    if setting.device == "vulkan" and "gpu: vulkan" not in run.stderr:
        sys.exit("the peer did not say 'gpu: vulkan': it may have computed on the CPU")
    found = json.loads(run.stdout.strip().splitlines()[-1])
    return {"prompt": found["pp_tok_s"], "decode": found["tg_tok_s"]}


def artifact_speeds(artifact: str, setting: Setting) -> dict[str, float]:
    """Run `ferry bench` once and return its median tokens per second by test."""
    words = [sys.executable, "-m", "ferrylm.cli", "bench", artifact, "-o", "json"]
    words += ["--device", setting.device, "-p", str(setting.prompt), "-n", str(setting.answer)]
    words += ["-t", str(setting.threads), "-r", str(REPETITIONS[setting.device])]
    rows = json.loads(output_of(words, setting).stdout)
    return {"prompt" if row["n_prompt"] else "decode": median(row["samples_ts"]) for row in rows}


def measured(command: str, artifacts: list[str], setting: Setting, rounds: int) -> Speeds:
    """Take turns between the peer and the artifacts."""
    speeds: Speeds = defaultdict(list)
    for _ in range(rounds):
        for test, value in peer_speeds(command, setting).items():
            speeds["peer", test].append(value)
        for artifact in artifacts:
            for test, value in artifact_speeds(artifact, setting).items():
                speeds[artifact, test].append(value)
    return speeds


def table_rows(speeds: Speeds, names: list[str], threads: int) -> list[str]:
    """Return a line for each name: medians, and how often faster than the peer."""
    rows = []
    for name in names:
        cells = []
        for test in TESTS:
            value = median(speeds[name, test])
            cells += [f"{value:.3g}" if value < 100 else f"{value:.0f}"]
            cells += [f"{value / median(speeds['peer', test]):.2f}"]
        rows.append(f"| {threads} | {name} | " + " | ".join(cells) + " |")
    return rows


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer", required=True)
    parser.add_argument("artifacts", nargs="+")
    parser.add_argument("--device", choices=sorted(REPETITIONS), default="cpu")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--prompt", type=int)
    parser.add_argument("--answer", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    prompt, answer = DEFAULT_TOKENS[asked.device]
    asked.prompt, asked.answer = asked.prompt or prompt, asked.answer or answer
    return asked


def main() -> None:
    """Take turns and print the table."""
    asked = parse_arguments()
    print(f"{asked.device}, prompt of {asked.prompt} tokens, answer of {asked.answer}\n")
    print("| threads | what | prompt, tok/s | ratio | decode, tok/s | ratio |")
    print("|---|---|---|---|---|---|")
    for threads in map(int, asked.threads.split(",")):
        setting = Setting(asked.device, threads, asked.prompt, asked.answer)
        speeds = measured(asked.peer, asked.artifacts, setting, asked.rounds)
        for row in table_rows(speeds, ["peer", *asked.artifacts], threads):
            print(row, flush=True)


if __name__ == "__main__":
    main()
