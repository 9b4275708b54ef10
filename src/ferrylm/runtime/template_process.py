"""The child process in which a chat template runs, seen from this side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path

from ferrylm.errors import TemplateError

CPU_LIMIT_S = 0.8
WALL_LIMIT_S = 20.0  # on a machine so busy that 0.8 s of processor time takes longer than this
MEMORY_LIMIT_BYTES = 96 << 20  # beyond the about 20 MB of Python with jinja2

_MAX_REPLY_BYTES = 64 << 20
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
_FIX = "use another chat template, or give a plain prompt"


class TemplateProcess:
    """One running template_worker.py; it ends with this object."""

    def __init__(self, template: str) -> None:
        """Start the process without waiting for it. Raises TemplateError if it cannot start."""
        script = Path(__file__).with_name("template_worker.py")
        # -I -S: no user site, no .pth files, half the start-up time; jinja2 is found where this
        # process finds it. A session of its own: Ctrl-C in a terminal is for the parent.
        command = [sys.executable, "-I", "-S", str(script), *sys.path]
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        except OSError as problem:
            raise TemplateError(
                f"no process for the chat template could be started ({problem.strerror})",
                wanted=f"{sys.executable} to run",
                fix="free memory or processes",
            ) from None
        self._end = weakref.finalize(self, _end, self._process)
        setup = {"template": template, "memory_bytes": MEMORY_LIMIT_BYTES, "cpu_s": CPU_LIMIT_S}
        self._write(setup)

    def exchange(self, request: dict[str, object]) -> dict[str, str]:
        """Send one request and return the reply.

        Raises TemplateError, and the process is gone, if it ran into one of its limits.
        """
        assert self._process.stdout is not None
        timer = threading.Timer(WALL_LIMIT_S, self._process.kill)
        timer.start()
        try:
            self._write(request)
            line = self._process.stdout.readline(_MAX_REPLY_BYTES)
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            self.close()
            raise TemplateError(
                "a chat template that does not end or fills the memory",
                wanted=f"at most {CPU_LIMIT_S} s of processor time "
                f"and {MEMORY_LIMIT_BYTES >> 20} MiB",
                fix=_FIX,
            )
        reply: dict[str, str] = json.loads(line)
        return reply

    def close(self) -> None:
        """End the process; harmless when repeated."""
        self._end()

    def _write(self, value: dict[str, object]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is gone: the missing reply says so
            self._process.stdin.write(json.dumps(value).encode("ascii") + b"\n")
            self._process.stdin.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # of bytes that were still to be written
                pipe.close()
