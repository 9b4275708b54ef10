"""The rules that a library's entry in a manifest must meet."""

from __future__ import annotations

import math
import re

from ferrylm.runtime.kv_layout import KV_LAYOUTS
from ferrylm.runtime.manifest import (
    KINDS,
    CudaNeeds,
    Library,
    Parameter,
    Requirements,
    RocmNeeds,
    TensorEntry,
    VulkanNeeds,
)
from ferrylm.runtime.manifest_codec import refuse, show
from ferrylm.runtime.manifest_fields import (
    FUNCTION_NAME,
    MAX_COUNT,
    MAX_TENSOR_BYTES,
    TENSOR_NAME,
    WORD,
    check_match,
    check_range,
    check_tensor,
    check_unique,
)
from ferrylm.runtime.tensor_types import ITEM_BYTES

_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,2}")
_MAX_LIMIT = 2**40


def check_library(where: str, library: Library, tensors: dict[str, TensorEntry]) -> None:
    """Refuse a library that contradicts itself; `tensors` are the canonical ones by name.

    Raises ArtifactError naming the field.
    """
    for name in ("target", "tier", "arithmetic"):
        check_match(f"{where}.{name}", getattr(library, name), WORD, "one word")
    for name, known in {"kind": KINDS, "kv_dtype": ITEM_BYTES, "kv_layout": KV_LAYOUTS}.items():
        value = getattr(library, name)
        if value not in known:
            refuse(f"{where}.{name}", show(value), "one of " + ", ".join(known))
    if library.target != f"{library.kind}-{library.tier}":
        refuse(f"{where}.target", show(library.target), "its kind and tier with - between")
    if library.draws and library.kind == "cpu":
        refuse(f"{where}.draws", "true", "false, for the host draws where it computes")
    _check_requirements(f"{where}.requires", library.requires, library.kind)
    check_range(f"{where}.preference", library.preference, -MAX_COUNT, MAX_COUNT)
    check_range(f"{where}.prefill_chunk", library.prefill_chunk, 1, MAX_COUNT)
    check_range(f"{where}.row_tile", library.row_tile, 1, MAX_COUNT)
    check_range(f"{where}.kv_page_multiple", library.kv_page_multiple, 1, MAX_COUNT)
    for name in ("workspace_bytes", "kernels", "device_code_bytes"):
        check_range(f"{where}.{name}", getattr(library, name), 0, MAX_TENSOR_BYTES)
    _check_batches(f"{where}.decode_batches", library.decode_batches)
    check_unique(f"{where}.parameters", "name", (item.name for item in library.parameters))
    for i, parameter in enumerate(library.parameters):
        _check_parameter(f"{where}.parameters[{i}]", parameter, tensors)


def _check_batches(where: str, batches: tuple[int, ...]) -> None:
    for batch in batches:
        check_range(where, batch, 1, MAX_COUNT)
    if not batches or list(batches) != sorted(set(batches)):
        refuse(where, show(batches), "sizes in rising order")


def _check_requirements(where: str, requires: Requirements, kind: str) -> None:
    check_match(f"{where}.machine", requires.machine, WORD, "one word")
    _check_words(f"{where}.cpu_features", requires.cpu_features)
    for name in KINDS[1:]:
        needs = getattr(requires, name)
        if needs is not None and name != kind:
            refuse(f"{where}.{name}", "there", f"null, for the library is for {kind}")
        if needs is None and name == kind:
            refuse(f"{where}.{name}", "null", f"what a {kind} device must have")
    if requires.vulkan is not None:
        _check_vulkan(f"{where}.vulkan", requires.vulkan)
    if requires.cuda is not None:
        _check_cuda(f"{where}.cuda", requires.cuda)
    if requires.rocm is not None:
        _check_rocm(f"{where}.rocm", requires.rocm)


def _check_vulkan(where: str, needs: VulkanNeeds) -> None:
    check_match(f"{where}.api_version", needs.api_version, _VERSION, "a version like 1.2")
    _check_words(f"{where}.features", needs.features)
    for size in needs.subgroup_sizes:
        if size not in (1, 2, 4, 8, 16, 32, 64, 128):
            refuse(f"{where}.subgroup_sizes", show(size), "powers of two up to 128")
    for name, least in needs.limits.items():
        check_match(f"a key of {where}.limits", name, WORD, "one word")
        check_range(f"{where}.limits[{name}]", least, 0, _MAX_LIMIT)


def _check_cuda(where: str, needs: CudaNeeds) -> None:
    check_match(f"{where}.driver", needs.driver, _VERSION, "a version like 13.0")
    _check_words(f"{where}.architectures", needs.architectures)
    _check_words(f"{where}.ptx", needs.ptx)
    if not needs.architectures and not needs.ptx:
        refuse(f"{where}.architectures", "empty", "one at least, or PTX")


def _check_rocm(where: str, needs: RocmNeeds) -> None:
    _check_words(f"{where}.architectures", needs.architectures)
    if not needs.architectures:
        refuse(f"{where}.architectures", "empty", "one at least")


def _check_words(where: str, words: tuple[str, ...]) -> None:
    for word in words:
        check_match(where, word, WORD, "one word each")


def _check_parameter(where: str, parameter: Parameter, tensors: dict[str, TensorEntry]) -> None:
    check_match(f"{where}.name", parameter.name, TENSOR_NAME, "letters, digits and ._-")
    check_tensor(where, parameter.dtype, parameter.shape)
    for name in parameter.sources:
        if name not in tensors:
            refuse(f"{where}.sources", show(name), "names of weights.tensors")
    if parameter.transform is not None:
        check_match(f"{where}.transform", parameter.transform, FUNCTION_NAME, "a function name")
        if not parameter.sources:
            refuse(f"{where}.sources", "empty", "at least one tensor to transform")
        return
    if len(parameter.sources) != 1:
        refuse(f"{where}.sources", show(parameter.sources), "one tensor, as transform is null")
    source = tensors[parameter.sources[0]]
    if _size_bytes(source.dtype, source.shape) != _size_bytes(parameter.dtype, parameter.shape):
        refuse(where, "of another size than its source", "the same bytes, as transform is null")


def _size_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * ITEM_BYTES[dtype]
