"""Kills compiles at random moments and looks at what they left; run by test_compile_kills.py.

usage: python kill_compiles.py FOLDER PROFILE WHOLE PUBLISHING

A process of its own, because a child of fork must not inherit the test session's threads. WHOLE
compiles are killed anywhere in their time. PUBLISHING ones are given a library that was built
before, so that the kills fall where files are written. Prints JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ferrylm.compile import cpu_library
from ferrylm.compile.compiler import compile_model
from ferrylm.compile.options import CompileOptions
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.manifest import manifest_files
from tests.engine.tiny_sources import TinySource


class Killer:
    """Two sources that are compiled by turns over the same artifact."""

    def __init__(self, folder: Path, profile: str) -> None:
        self.output, self.generator = folder / "artifact", random.Random(3)
        self.sources = [TinySource(layers=1).write(folder / f"{i}", seed=i) for i in range(2)]
        self.profile = profile
        self.ids: list[str] = []
        self.counts = {"old": 0, "new": 0, "ended before the kill": 0}

    def compile(self, which: int) -> str:
        """Compile a source over the artifact; return the new id."""
        options = CompileOptions(self.sources[which], self.output, targets=(f"cpu-{self.profile}",))
        return compile_model(options).artifact_id

    def current(self) -> int:
        """Return whose artifact there is, after checking every byte of it."""
        with Artifact.open(self.output) as artifact:
            artifact.verify_all()
            return self.ids.index(artifact.manifest.artifact_id)

    def _start(self, which: int) -> int:
        child = os.fork()
        if child == 0:
            try:
                self.compile(which)
            finally:
                os._exit(0)
        return child

    def compile_in_a_child(self) -> None:
        """Compile the other source, to its end."""
        os.waitpid(self._start(1 - self.current()), 0)

    def kill_one(self, longest_seconds: float) -> None:
        """Start a compile of the other source, kill it, and see what is there."""
        old = self.current()
        child = self._start(1 - old)
        time.sleep(self.generator.uniform(0, longest_seconds))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        self.counts["new" if self.current() != old else "old"] += 1
        self.counts["ended before the kill"] += not os.WIFSIGNALED(status)

    def leftovers(self) -> list[str]:
        """Return the files that do not belong to the artifact."""
        with Artifact.open(self.output) as artifact:
            named = {file.path for file in manifest_files(artifact.manifest)}
        return sorted(set(os.listdir(self.output)) - named - {"manifest.json"})


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    folder, profile, whole, publishing = sys.argv[1:]
    killer = Killer(Path(folder), profile)
    build, built = cpu_library.build_cpu_library, []

    def build_once(*arguments: object) -> object:
        if not built:
            built.append(build(*arguments))  # type: ignore[arg-type]
        return built[0]

    with mock.patch.object(cpu_library, "build_cpu_library", build_once):
        first_seconds = timed(lambda: killer.ids.append(killer.compile(0)))
        killer.ids.append(killer.compile(1))
        short_seconds = timed(killer.compile_in_a_child)
        for _ in range(int(publishing)):
            killer.kill_one(1.3 * short_seconds)
    after_short = dict(killer.counts)
    for _ in range(int(whole)):
        killer.kill_one(first_seconds)
    left = killer.leftovers()
    final = killer.compile(0)
    print(
        json.dumps(
            {
                "publishing": after_short,
                "all": killer.counts,
                "left": left,
                "seconds": [round(first_seconds, 2), round(short_seconds, 2)],
                "final": [final == killer.ids[0], killer.current() == 0, killer.leftovers()],
            }
        )
    )


if __name__ == "__main__":
    main()
