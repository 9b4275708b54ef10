"""Fat binaries: the code of several architectures in one piece, made by NVIDIA's nvFatbin."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from ferrylm.compile.cuda.architectures import Architecture
from ferrylm.compile.cuda.toolkit import Toolkit
from ferrylm.errors import CompileError

_IDENTIFIER = b"ferrylm"


def make_fat_binary(code: Mapping[Architecture, bytes], toolkit: Toolkit) -> bytes:
    """Pack cubins and PTX, compressed; equal input gives equal bytes. Raises CompileError."""
    library = _Library(toolkit)
    handle = ctypes.c_void_p()
    # Drivers from CUDA 12.4 on unpack what this mode writes; 13.0 is wanted anyway.
    options = (ctypes.c_char_p * 1)(b"-compress-mode=size")
    library.call("nvFatbinCreate", ctypes.byref(handle), options, ctypes.c_size_t(1))
    try:
        for arch, body in code.items():
            name = arch.short_name.encode()
            size = ctypes.c_size_t(len(body))
            if arch.ptx:
                library.call("nvFatbinAddPTX", handle, body, size, name, _IDENTIFIER, None)
            else:
                library.call("nvFatbinAddCubin", handle, body, size, name, _IDENTIFIER)
        total = ctypes.c_size_t()
        library.call("nvFatbinSize", handle, ctypes.byref(total))
        buffer = ctypes.create_string_buffer(total.value)
        library.call("nvFatbinGet", handle, buffer)
        return buffer.raw
    finally:
        library.call("nvFatbinDestroy", ctypes.byref(handle))


class _Library:
    def __init__(self, toolkit: Toolkit) -> None:
        try:
            self._library = ctypes.CDLL(str(toolkit.nvfatbin))
        except OSError as error:
            raise _failed(str(error)) from error
        self._library.nvFatbinGetErrorString.restype = ctypes.c_char_p

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function. Raises CompileError unless it returns 0."""
        status = getattr(self._library, name)(*arguments)
        if status:
            text: bytes = self._library.nvFatbinGetErrorString(status)
            raise _failed(f"{name}: {text.decode()}")


def _failed(found: str) -> CompileError:
    return CompileError(
        f"the fat binary could not be made: {found}",
        wanted="nvFatbin of CUDA 13.0",
        fix="install ferrylm[cuda] afresh",
    )
