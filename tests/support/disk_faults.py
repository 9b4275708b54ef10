"""Stand-ins for the system's file calls that fail, die or take notes at a chosen call."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

CHANGING = ("mkdir", "open", "ftruncate", "pwrite", "write", "fsync", "rename", "unlink", "rmdir")
READING = ("fstat", "stat", "pread", "preadv", "listdir", "fstatvfs")

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


@contextlib.contextmanager
def watched(
    names: tuple[str, ...], before: Callable[[int, Call], None], after: Callable[[int, Call], None]
) -> Iterator[None]:
    """Tell `before` and `after` the number of each call of the os module's functions `names`.

    What `after` gets as the first argument is the result, None for a call that failed.
    """
    count = 0

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            number, call = count, (name, arguments, options)
            before(number, call)
            result = None
            try:
                result = real(*arguments, **options)
            finally:
                after(number, (name, (result, *arguments), options))
            return result

        return wrapped

    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(os, name, wrap(name, getattr(os, name))))
        yield


def count_calls(names: tuple[str, ...], work: Callable[[], object]) -> int:
    """Run `work` and count its calls."""
    total = 0

    def note(number: int, call: Call) -> None:
        nonlocal total
        total = number

    with watched(names, note, lambda *_: None):
        work()
    return total


@contextlib.contextmanager
def failing(
    names: tuple[str, ...], at: int, errno_code: int, *, forever: bool = False
) -> Iterator[None]:
    """Make call number `at` fail, or every call from it on."""

    def before(number: int, call: Call) -> None:
        if number == at or (forever and number > at):
            raise OSError(errno_code, os.strerror(errno_code))

    with watched(names, before, lambda *_: None):
        yield


def run_and_die(work: Callable[[], object], at: int, moment: str) -> None:
    """Run `work` in a child process that ends without any cleaning at call number `at`.

    `moment` is "before" or "after" the call, or "half": after half of what a write was given.
    """
    real_write = os.write

    def before(number: int, call: Call) -> None:
        if number != at:
            return
        if moment == "half" and call[0] == "write":
            fd, data = call[1]
            real_write(fd, data[: len(data) // 2])
        if moment != "after":
            os._exit(9)

    def after(number: int, call: Call) -> None:
        if number == at:
            os._exit(9)

    child = os.fork()
    if child == 0:
        try:
            with watched(CHANGING, before, after):
                work()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != 9:
        raise AssertionError(f"the writer ended before call {at}")
