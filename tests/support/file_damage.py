"""Ways in which a file on disk goes bad."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path], None]


def flip_first_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)


def flip_last_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 0x80
    file.write_bytes(data)


def cut_one_byte(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def append_a_byte(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def zero_the_tail(file: Path) -> None:
    size = file.stat().st_size
    os.truncate(file, size - max(1, size // 3))
    os.truncate(file, size)


def remove(file: Path) -> None:
    file.unlink()


def replace_by_link_to_itself(file: Path) -> None:
    moved = file.with_name("moved")
    file.rename(moved)
    file.symlink_to(moved)


def replace_by_dangling_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def replace_by_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def replace_by_device(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


DAMAGES: list[Damage] = [
    flip_first_bit,
    flip_last_bit,
    cut_one_byte,
    empty,
    append_a_byte,
    zero_the_tail,
    remove,
    replace_by_link_to_itself,
    replace_by_dangling_link,
    replace_by_folder,
    replace_by_pipe,
    replace_by_device,
]
