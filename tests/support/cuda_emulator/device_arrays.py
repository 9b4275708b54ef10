"""numpy arrays as tensors of a CUDA device, each before memory that nobody may touch."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
import tvm_ffi

Array = np.ndarray
_PAGE_BYTES = mmap.PAGESIZE
_ALIGNMENT_BYTES = 64  # what TVM's host functions want
_CANARY = 0xA5
_CUDA = 2  # DLPack, kDLCUDA
_PROT_NONE = 0
_CODES = {"i": 0, "u": 1, "f": 2}  # DLPack, DLDataTypeCode
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Device(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("index", ctypes.c_int32)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("dimensions", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    _fields_ = [
        ("tensor", _Tensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


class DeviceArray:
    """A copy of an array that ends where a page begins that cannot be read or written.

    `tensor` is what TVM's host functions take; it lives no longer than this.
    """

    def __init__(self, array: Array) -> None:
        self._shape, self._dtype, size = array.shape, array.dtype, array.nbytes
        used = -(-max(size, 1) // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        whole = -(-used // _PAGE_BYTES) * _PAGE_BYTES
        self._map = mmap.mmap(-1, whole + 2 * _PAGE_BYTES)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        for guard in (self._base, self._base + _PAGE_BYTES + whole):
            if _LIBC.mprotect(ctypes.c_void_p(guard), _PAGE_BYTES, _PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._start = _PAGE_BYTES + whole - used
        self._end = self._start + size
        self._bytes()[...] = _CANARY
        self.array[...] = array
        self.tensor = self._as_tensor()

    def _bytes(self) -> Array:
        size = len(self._map) - 2 * _PAGE_BYTES
        return np.frombuffer(self._map, np.uint8, size, _PAGE_BYTES)

    @property
    def array(self) -> Array:
        """Return the content; it changes with the tensor."""
        count = int(np.prod(self._shape))
        return np.frombuffer(self._map, self._dtype, count, self._start).reshape(self._shape)

    @property
    def address(self) -> int:
        """Return where the content begins."""
        return self._base + self._start

    def is_whole(self) -> bool:
        """Return whether nobody wrote before or behind the array."""
        content = self._bytes()
        first, last = self._start - _PAGE_BYTES, self._end - _PAGE_BYTES
        return bool((content[:first] == _CANARY).all() and (content[last:] == _CANARY).all())

    def _as_tensor(self) -> Any:
        self._sizes = (ctypes.c_int64 * max(1, len(self._shape)))(*self._shape)
        self._managed = _Managed()
        tensor = self._managed.tensor
        tensor.data = self.address
        tensor.device = _Device(_CUDA, 0)
        tensor.dimensions = len(self._shape)
        tensor.code, tensor.bits, tensor.lanes = _CODES[self._dtype.kind], 0, 1
        tensor.bits = 8 * self._dtype.itemsize
        tensor.shape = ctypes.cast(self._sizes, ctypes.POINTER(ctypes.c_int64))
        return tvm_ffi.from_dlpack(_Exporter(self._managed))


class _Exporter:
    """Gives a tensor away by DLPack, once."""

    def __init__(self, managed: _Managed) -> None:
        self._managed = managed

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, 0

    def __dlpack__(self, **_options: object) -> object:
        make = ctypes.pythonapi.PyCapsule_New
        make.restype = ctypes.py_object
        make.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return make(ctypes.addressof(self._managed), b"dltensor", None)
