"""The chat at a real (pseudo) terminal: prompts, Ctrl-C in an answer and at the prompt, Ctrl-D."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WAIT_S = 30
CTRL_C, CTRL_D = "\x03", "\x04"

# The first answer waits for ever, token by token; the second is short.
PROGRAM = f"""
import sys, time
sys.path[:0] = [{str(ROOT / "src")!r}, {str(ROOT / "tests" / "support")!r}]
import ferrylm
from cli_fakes import FakeModel

def word():
    time.sleep(0.02)
    return "word "

model = FakeModel(answers=[["begin ", *[word] * 5000], ["short"]])
ferrylm.load = lambda *_, **__: model
from ferrylm.cli import main
try:
    main()
finally:
    print("asked", len(model.asked), "closed", model.closed)
"""


class Terminal:
    """A program at a pseudo-terminal."""

    def __init__(self, program: str, *arguments: str) -> None:
        self._main, follower = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            preexec_fn=_take_terminal,
            env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"},
        )
        os.close(follower)
        self.seen = ""
        self._waited = 0

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until `text` is shown after what was waited for before."""
        deadline = time.monotonic() + WAIT_S
        while text not in self.seen[self._waited :]:
            ready, _, _ = select.select([self._main], [], [], deadline - time.monotonic())
            assert ready, f"{text!r} was not shown; seen: {self.seen!r}"
            try:
                data = os.read(self._main, 4096)
            except OSError:  # the program has ended
                data = b""
            assert data, f"the program ended before {text!r}; seen: {self.seen!r}"
            self.seen += data.decode(errors="replace")
        self._waited = self.seen.index(text, self._waited) + len(text)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT_S)
        os.close(self._main)


def _take_terminal() -> None:
    import fcntl
    import signal
    import termios

    # A shell's job in the background ignores Ctrl-C, and so would its children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = Terminal(PROGRAM, "chat", "dist/m")
    yield opened
    opened.close()


def test_ctrl_c_ends_the_answer_then_only_the_line_and_ctrl_d_the_conversation(
    terminal: Terminal,
) -> None:
    terminal.wait_for("> ")
    terminal.type("hello\n")
    terminal.wait_for("begin ")
    terminal.type(CTRL_C)
    terminal.wait_for("> ")
    terminal.type("never sent")
    terminal.wait_for("never sent")
    time.sleep(0.3)  # a signal between readline's echo and its next wait would be lost in CPython
    terminal.type(CTRL_C)
    terminal.wait_for("ends the conversation")
    terminal.wait_for("> ")
    terminal.type("again\n")
    terminal.wait_for("short")
    terminal.wait_for("> ")
    terminal.type(CTRL_D)
    terminal.wait_for("asked 2 closed True")
    assert terminal.process.wait(WAIT_S) == 0


def test_an_answer_that_hears_nothing_ends_at_the_second_ctrl_c() -> None:
    deaf = PROGRAM.replace("time.sleep(0.02)", "time.sleep(60)")
    terminal = Terminal(deaf, "run", "dist/m", "-p", "x")
    try:
        terminal.wait_for("begin ")
        terminal.type(CTRL_C)
        time.sleep(0.3)
        terminal.type(CTRL_C)
        terminal.wait_for("closed True")
        assert terminal.process.wait(WAIT_S) == 130
    finally:
        terminal.close()
