"""The bytes in which TVM 0.27 stores a library's imported modules, taken apart and put together.

TVM writes them in src/target/codegen.cc (`PackImportsToBytes`), and a CUDA module in
src/backend/cuda/runtime/cuda_module.cc (`SaveToBytes`). All numbers are little endian; a string
is its length in 8 bytes and its bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ferrylm.errors import CompileError

DSO_PLACE = "_lib"  # where the shared library itself stands in the import tree


@dataclass(frozen=True)
class StoredModule:
    """One module; `content` is None for the shared library itself."""

    kind: str
    content: bytes | None


@dataclass(frozen=True)
class StoredImports:
    """The modules and their import tree: two lists of row starts and children."""

    row_starts: tuple[int, ...]
    children: tuple[int, ...]
    modules: tuple[StoredModule, ...]


@dataclass(frozen=True)
class StoredFunction:
    """What a CUDA module knows of one kernel; types are DLDataType's four bytes."""

    name: str
    argument_types: tuple[bytes, ...]
    launch_tags: tuple[str, ...]
    extra_tags: tuple[int, ...]


@dataclass(frozen=True)
class StoredCuda:
    """A CUDA module; `format` is cuda (source), ptx, cubin or fatbin."""

    format: str
    functions: tuple[StoredFunction, ...]
    code: bytes


def read_imports(blob: bytes) -> StoredImports:
    """Take apart what `runtime.ModulePackImportsToTensor` returns. Raises CompileError."""
    reader = _Reader(blob)
    if reader.number() != len(blob) - 8:
        raise _strange("a length that is not the blob's")
    row_starts = reader.numbers()
    children = reader.numbers()
    modules = []
    for _ in row_starts[1:]:
        kind = reader.string().decode()
        modules.append(StoredModule(kind, None if kind == DSO_PLACE else reader.string()))
    reader.end()
    return StoredImports(row_starts, children, tuple(modules))


def write_imports(imports: StoredImports) -> bytes:
    """Put together what `read_imports` took apart."""
    body = _numbers(imports.row_starts) + _numbers(imports.children)
    for module in imports.modules:
        body += _string(module.kind.encode())
        if module.content is not None:
            body += _string(module.content)
    return struct.pack("<Q", len(body)) + body


def read_cuda(content: bytes) -> StoredCuda:
    """Take a CUDA module apart. Raises CompileError."""
    reader = _Reader(content)
    form = reader.string().decode()
    functions = []
    for _ in range(reader.number()):
        key = reader.string().decode()
        name = reader.string().decode()
        if key != name:
            raise _strange(f"the kernel {name!a} under the name {key!a}")
        types = tuple(reader.take(4) for _ in range(reader.number()))
        tags = tuple(reader.string().decode() for _ in range(reader.number()))
        extra = tuple(reader.number(4) for _ in range(reader.number()))
        functions.append(StoredFunction(name, types, tags, extra))
    code = reader.string()
    reader.end()
    return StoredCuda(form, tuple(functions), code)


def write_cuda(module: StoredCuda) -> bytes:
    """Put a CUDA module together."""
    content = _string(module.format.encode()) + struct.pack("<Q", len(module.functions))
    for function in module.functions:
        name = _string(function.name.encode())
        content += name + name
        content += struct.pack("<Q", len(function.argument_types))
        content += b"".join(function.argument_types)
        content += struct.pack("<Q", len(function.launch_tags))
        content += b"".join(_string(tag.encode()) for tag in function.launch_tags)
        content += struct.pack("<Q", len(function.extra_tags))
        content += b"".join(struct.pack("<I", tag) for tag in function.extra_tags)
    return content + _string(module.code)


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        part = self._content[self._at : self._at + size]
        if len(part) != size:
            raise _strange("an end before the end")
        self._at += size
        return part

    def number(self, size: int = 8) -> int:
        """Return the next unsigned number."""
        return int.from_bytes(self.take(size), "little")

    def numbers(self) -> tuple[int, ...]:
        """Return the next list of numbers."""
        count = self.number()
        return struct.unpack(f"<{count}Q", self.take(8 * count))

    def string(self) -> bytes:
        """Return the next string."""
        return self.take(self.number())

    def end(self) -> None:
        """Raise CompileError unless everything was read."""
        if self._at != len(self._content):
            raise _strange("bytes after the end")


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _numbers(values: tuple[int, ...]) -> bytes:
    return struct.pack(f"<{len(values) + 1}Q", len(values), *values)


def _strange(found: str) -> CompileError:
    return CompileError(
        f"stored modules with {found}",
        wanted="modules as TVM 0.27 stores them",
        fix="install the apache-tvm that ferrylm names",
    )
