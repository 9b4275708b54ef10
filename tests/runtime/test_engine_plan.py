"""What an engine may take of a GPU, decided before anything is loaded."""

from __future__ import annotations

from dataclasses import replace

import gpu_devices as gpus
import pytest
from artifact_samples import entry_of, library, sample_manifest

from ferrylm.errors import MemoryLimitError
from ferrylm.runtime.devices import GpuDevice
from ferrylm.runtime.engine_plan import EnginePlan, plan_engine
from ferrylm.runtime.manifest import Manifest
from ferrylm.runtime.selection import Selection

LIBRARY = library(entry_of("vulkan", ".so", b"vulkan"), "vulkan-some", kv_layout="vector8")
CONTEXT = 100_000


def manifest() -> Manifest:
    found = sample_manifest()
    return replace(found, model=replace(found.model, context_length=CONTEXT, num_layers=4))


def plan(device: GpuDevice | None, context: int = CONTEXT, sequences: int = 1) -> EnginePlan:
    return plan_engine(
        manifest(),
        Selection(LIBRARY, device, ()),
        gpus.HOST,
        threads=None,
        context_length=context,
        page_size=None,
        max_sequences=sequences,
    )


def test_a_plan_counts_weights_pages_and_workspace() -> None:
    found = plan(gpus.DECK)
    pages = -(-CONTEXT // 32)
    assert found.pages == pages
    assert found.memory_bytes["kv"] == 2 * 4 * 2 * 16 * 2 * 32 * pages
    assert set(found.memory_bytes) == {"weights", "kv", "workspace"}


def test_what_does_not_fit_the_devices_free_memory_is_refused_with_the_figures() -> None:
    needed = sum(plan(gpus.DECK).memory_bytes.values())
    short = replace(gpus.DECK, free_bytes=needed)
    with pytest.raises(MemoryLimitError) as caught:
        plan(short)
    assert gpus.DECK.name in caught.value.found
    assert "kv " in caught.value.wanted
    assert "--device cpu" in caught.value.fix
    plan(replace(gpus.DECK, free_bytes=needed + (64 << 20)))


def test_a_tensor_that_the_device_cannot_allocate_at_once_is_refused() -> None:
    one_layer = plan(gpus.DECK).memory_bytes["kv"] // 8
    for name in ("maxBufferSize", "maxMemoryAllocationSize"):
        plan(replace(gpus.DECK, limits={**gpus.DECK.limits, name: one_layer}))
        narrow = replace(gpus.DECK, limits={**gpus.DECK.limits, name: one_layer - 1})
        with pytest.raises(MemoryLimitError, match=r"at once; .* for the keys of a layer"):
            plan(narrow)


def test_a_parameter_can_be_what_is_too_large() -> None:
    narrow = replace(gpus.DECK, limits={**gpus.DECK.limits, "maxBufferSize": 48 * 68 - 1})
    with pytest.raises(MemoryLimitError, match=r"for layers\.0\.qkv"):
        plan(narrow, context=32)
