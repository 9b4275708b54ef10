"""What an engine is to be: checked against the model, the library and the device's memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from ferrylm.errors import MemoryLimitError, UsageError
from ferrylm.runtime.cpu_features import HostCpu
from ferrylm.runtime.device_tensors import array_bytes
from ferrylm.runtime.devices import GpuDevice
from ferrylm.runtime.draw_layout import slot_bytes
from ferrylm.runtime.kv_pages import page_count
from ferrylm.runtime.manifest import Library, Manifest
from ferrylm.runtime.page_storage import storage_bytes
from ferrylm.runtime.parameters import parameter_bytes
from ferrylm.runtime.selection import Selection

DEFAULT_CONTEXT = 8192  # tokens at most, unless more are asked for
DEFAULT_PAGE_SIZE = 32  # tokens
_ALLOCATION_LIMITS = ("maxMemoryAllocationSize", "maxBufferSize")
_SPARE_BYTES = 64 << 20  # the interpreter, the driver, and what else the process needs


@dataclass(frozen=True)
class EnginePlan:
    """The sizes of an engine; `memory_bytes` is what each part takes on the device."""

    library: Library
    threads: int
    context: int
    page_size: int
    max_sequences: int
    memory_bytes: Mapping[str, int]

    @property
    def pages(self) -> int:
        """Return the number of pages of all sequences."""
        return page_count(self.page_size, self.context, self.max_sequences)


def plan_engine(
    manifest: Manifest,
    selection: Selection,
    host: HostCpu,
    *,
    threads: int | None,
    context_length: int | None,
    page_size: int | None,
    max_sequences: int,
) -> EnginePlan:
    """Fill in what was left open and check that it makes sense and fits.

    Raises UsageError, MemoryLimitError.
    """
    library = selection.library
    cores = min(host.physical_cores, len(os.sched_getaffinity(0)))
    context = context_for(manifest, context_length)
    page = _page_size(library, page_size)
    threads = threads if threads is not None else cores
    _check_at_least_one("threads", threads)
    _check_at_least_one("max_sequences", max_sequences)
    pages = page_count(page, context, max_sequences)
    memory = {
        "weights": parameter_bytes(library),
        "kv": storage_bytes(manifest.model, library, pages, page),
        "workspace": library.workspace_bytes,
    }
    if library.draws:
        memory["workspace"] += max_sequences * slot_bytes(manifest.model.vocab_size)
    _check_memory(manifest, memory, selection.device)
    if selection.device is not None:
        one_layer = storage_bytes(manifest.model, library, pages, page)
        one_layer //= 2 * manifest.model.num_layers
        _check_largest(library, one_layer, selection.device)
    return EnginePlan(library, threads, context, page, max_sequences, memory)


def context_for(manifest: Manifest, asked: int | None) -> int:
    """Return the context that an engine takes. Raises UsageError."""
    longest = manifest.model.context_length
    if asked is None:
        return min(longest, DEFAULT_CONTEXT)
    if not 1 <= asked <= longest:
        raise UsageError(
            f"a context of {asked} tokens",
            wanted=f"1 to {longest}, what the model was made for",
            fix="choose one in this range",
        )
    return asked


def _page_size(library: Library, asked: int | None) -> int:
    multiple = library.kv_page_multiple
    page = asked if asked is not None else max(DEFAULT_PAGE_SIZE, multiple)
    if page < 1 or page % multiple:
        raise UsageError(
            f"pages of {page} tokens", wanted=f"a multiple of {multiple}", fix="choose one"
        )
    return page


def _check_at_least_one(what: str, count: int) -> None:
    if count < 1:
        raise UsageError(f"{what} = {count}", wanted="1 or more", fix="choose more")


def _check_memory(manifest: Manifest, memory: Mapping[str, int], device: GpuDevice | None) -> None:
    needed = sum(memory.values()) + _SPARE_BYTES
    free = device.free_bytes if device is not None else int(psutil.virtual_memory().available)
    if needed <= free:
        return
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in memory.items())
    where = f" on {device.name}" if device is not None else ""
    other = ", take --device cpu" if device is not None else ""
    raise MemoryLimitError(
        f"{free / 1e9:.2f} GB of free memory{where} for {manifest.name}",
        wanted=f"{needed / 1e9:.2f} GB ({parts})",
        fix=f"load it with a shorter context or fewer sequences{other}, or close other programs",
    )


def _check_largest(library: Library, pages_bytes: int, device: GpuDevice) -> None:
    """Refuse a tensor that the device cannot allocate in one piece."""
    sizes = {p.name: array_bytes(p.shape, p.dtype) for p in library.parameters}
    sizes["the keys of a layer"] = pages_bytes
    name = max(sizes, key=lambda key: sizes[key])
    limits = (device.limits.get(key) for key in _ALLOCATION_LIMITS)
    most = min((limit for limit in limits if limit is not None), default=sizes[name])
    if sizes[name] > most:
        raise MemoryLimitError(
            f"{device.name} allocates at most {most / 1e9:.2f} GB at once",
            wanted=f"{sizes[name] / 1e9:.2f} GB for {name}",
            fix="load the model with a shorter context or fewer sequences, or on another device",
        )
