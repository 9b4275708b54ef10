"""What a manifest may say of a GPU's library."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from artifact_samples import entry_of, library, sample_manifest, with_right_id

from ferrylm.errors import ArtifactError
from ferrylm.runtime.manifest import (
    CudaNeeds,
    Library,
    Manifest,
    Requirements,
    RocmNeeds,
    VulkanNeeds,
)
from ferrylm.runtime.manifest_json import from_json, to_json, with_artifact_id

NEEDS: dict[str, Any] = {
    "vulkan": VulkanNeeds("1.2", ("shaderInt64",), (32,), {"maxComputeSharedMemorySize": 32768}),
    "cuda": CudaNeeds(("sm_80",), ("compute_75",), "13.0"),
    "rocm": RocmNeeds(("gfx1100", "gfx10-3-generic")),
}


def manifest_with(kind: str) -> Manifest:
    target = f"{kind}-some"
    found: Library = library(
        entry_of(target, ".so", target.encode()),
        target,
        requires=Requirements("x86_64", (), **{kind: NEEDS[kind]}),
        kernels=40,
        device_code_bytes=12345,
        kv_layout="vector8",
    )
    sample = sample_manifest()
    return with_artifact_id(replace(sample, libraries=(*sample.libraries, found)))


@pytest.mark.parametrize("kind", NEEDS)
def test_a_gpus_library_comes_back_as_it_was_written(kind: str) -> None:
    manifest = manifest_with(kind)
    assert from_json(to_json(manifest)) == manifest


def test_a_library_that_draws_says_so_and_one_that_does_not_says_nothing() -> None:
    """As older artifacts do: their ids stay."""
    manifest = manifest_with("vulkan")
    assert all("draws" not in entry for entry in to_json(manifest)["libraries"])
    *others, last = manifest.libraries
    drawing = with_artifact_id(replace(manifest, libraries=(*others, replace(last, draws=True))))
    assert to_json(drawing)["libraries"][-1]["draws"] is True
    assert from_json(to_json(drawing)) == drawing
    assert drawing.artifact_id != manifest.artifact_id


def test_a_library_for_processors_does_not_draw() -> None:
    manifest = manifest_with("vulkan")
    assert manifest.libraries[0].kind == "cpu"
    document = to_json(manifest)
    document["libraries"][0]["draws"] = True
    with pytest.raises(ArtifactError, match="draws is true"):
        from_json(with_right_id(document))


BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "no needs": ("vulkan", {"vulkan": None}),
    "needs of another kind": ("vulkan", {"vulkan": None, "rocm": {"architectures": ["gfx1100"]}}),
    "an API version that is none": ("vulkan", {"vulkan.api_version": "1.2-rc"}),
    "a feature of two words": ("vulkan", {"vulkan.features": ["a b"]}),
    "a subgroup of 3": ("vulkan", {"vulkan.subgroup_sizes": [3]}),
    "a limit below 0": ("vulkan", {"vulkan.limits": {"maxComputeSharedMemorySize": -1}}),
    "a limit of no name": ("vulkan", {"vulkan.limits": {"": 1}}),
    "a limit that is a text": ("vulkan", {"vulkan.limits": {"a": "1"}}),
    "no code at all": ("cuda", {"cuda.architectures": [], "cuda.ptx": []}),
    "a driver of words": ("cuda", {"cuda.driver": "new"}),
    "an architecture with a space": ("cuda", {"cuda.architectures": ["sm 80"]}),
    "no chip": ("rocm", {"rocm.architectures": []}),
    "a chip with a line break": ("rocm", {"rocm.architectures": ["gfx1100\n"]}),
}


@pytest.mark.parametrize(("kind", "changes"), BROKEN.values(), ids=BROKEN)
def test_needs_that_make_no_sense_are_refused(kind: str, changes: dict[str, Any]) -> None:
    value: Any = to_json(manifest_with(kind))
    requires = value["libraries"][-1]["requires"]
    for path, new in changes.items():
        holder, _, field = path.rpartition(".")
        (requires[holder] if holder else requires)[field] = new
    with pytest.raises(ArtifactError, match=r"libraries\[2\]\.requires") as caught:
        from_json(with_right_id(value))
    assert caught.value.wanted
    assert str(caught.value).isprintable()
