from __future__ import annotations

import pytest

from ferrylm.compile.cuda.tiers import TIERS as CUDA_TIERS
from ferrylm.compile.vulkan_tiers import TIERS as VULKAN_TIERS
from ferrylm.schedules.gpu.profile import GpuProfile

WITH_DOT = GpuProfile("some", "vulkan", 32, dot=True, shared_bytes=32 << 10)
WITHOUT_DOT = GpuProfile("some", "vulkan", 32, dot=False, shared_bytes=32 << 10)


@pytest.mark.parametrize(
    ("profile", "wanted", "gets"),
    [
        (WITH_DOT, "int16", "int16"),
        (WITH_DOT, "int8", "int16"),
        (WITH_DOT, "f32", "f32"),
        (WITHOUT_DOT, "int16", "f32"),
        (WITHOUT_DOT, "int8", "f32"),
    ],
)
def test_an_arithmetic_without_a_gain_becomes_the_best_of_the_device(
    profile: GpuProfile, wanted: str, gets: str
) -> None:
    assert profile.arithmetic(wanted) == gets


def test_int8_becomes_the_same_on_every_vendors_gpus() -> None:
    profiles = [tier.profile for tier in (*CUDA_TIERS.values(), *VULKAN_TIERS.values())]
    assert {profile.arithmetic("int8") for profile in profiles if profile.dot} == {"int16"}
    assert {profile.arithmetic("int8") for profile in profiles if not profile.dot} == {"f32"}
