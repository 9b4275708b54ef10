"""Which library runs on which GPU, decided from recorded reports of devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import gpu_devices as gpus
import pytest
from artifact_samples import entry_of, library, sample_manifest

from ferrylm.compile.rocm.architectures import ARCHITECTURES
from ferrylm.compile.vulkan_library import kernel_needs
from ferrylm.errors import NoLibraryError
from ferrylm.runtime.backends.vulkan_report import probe_of
from ferrylm.runtime.devices import GpuDevice, Machine
from ferrylm.runtime.manifest import (
    CudaNeeds,
    Library,
    Manifest,
    Requirements,
    RocmNeeds,
    VulkanNeeds,
)
from ferrylm.runtime.requirements import GENERIC_CHIPS
from ferrylm.runtime.selection import choose_library, judge_libraries, wanted_kinds

INT = ("shaderInt64", "subgroupArithmetic")
DOT = (*INT, "shaderIntegerDotProduct")


def vulkan_library(tier: str, subgroup: int, preference: int, dot: bool) -> Library:
    needs = VulkanNeeds(
        "1.2", DOT if dot else INT, (subgroup,), {"maxComputeSharedMemorySize": 32768}
    )
    return gpu_library(f"vulkan-{tier}", preference, Requirements("x86_64", (), vulkan=needs))


def gpu_library(target: str, preference: int, requires: Requirements) -> Library:
    return library(
        entry_of(target, ".so", target.encode()),
        target,
        preference=preference,
        requires=requires,
        kv_layout="vector8",
    )


CUDA = gpu_library(
    "cuda-sm75",
    100,
    Requirements(
        "x86_64", (), cuda=CudaNeeds(("sm_75", "sm_80", "sm_90a"), ("compute_75",), "13.0")
    ),
)
ROCM = gpu_library(
    "rocm-wave32", 100, Requirements("x86_64", (), rocm=RocmNeeds(("gfx1100", "gfx10-3-generic")))
)
CPU = library(entry_of("cpu", ".so", b"cpu"))
LIBRARIES = (
    CPU,
    vulkan_library("subgroup16-dot", 16, 60, True),
    vulkan_library("subgroup32-dot", 32, 50, True),
    vulkan_library("subgroup64-dot", 64, 40, True),
    vulkan_library("subgroup8-dot", 8, 5, True),
    vulkan_library("subgroup8", 8, 10, False),
    vulkan_library("subgroup32", 32, 20, False),
    vulkan_library("subgroup64", 64, 15, False),
    CUDA,
    ROCM,
)


def holding(*libraries: Library) -> Manifest:
    return dataclasses.replace(sample_manifest(), libraries=libraries)


EVERYTHING = holding(*LIBRARIES)
H100 = gpus.cuda("NVIDIA H100 80GB HBM3", "sm_90")
T4 = gpus.cuda("Tesla T4", "sm_75")
RTX_5090 = gpus.cuda("NVIDIA GeForce RTX 5090", "sm_120")
RX_7900 = gpus.rocm("AMD Radeon RX 7900 XTX", "gfx1100")
DECK_ROCM = gpus.rocm("AMD Custom GPU 0405", "gfx1033", "integrated")

OLD = gpus.vulkan("radeon_rx580", api_version="1.1.102")
VIRTUAL = gpus.vulkan("steam_deck", device_class="virtual", name="Virtio-GPU Venus")
SMALL = gpus.vulkan("steam_deck", limits={**gpus.DECK.limits, "maxComputeSharedMemorySize": 16384})

BY_AUTO: dict[str, tuple[Machine, str]] = {
    "Steam Deck": (gpus.machine(gpus.DECK), "vulkan-subgroup32-dot"),
    "RTX": (gpus.machine(gpus.RTX), "vulkan-subgroup32-dot"),
    "H100 without CUDA": (gpus.machine(gpus.HOPPER), "vulkan-subgroup32-dot"),
    "Radeon 780M": (gpus.machine(gpus.PHOENIX), "vulkan-subgroup32-dot"),
    "Arc": (gpus.machine(gpus.ARC), "vulkan-subgroup16-dot"),
    "Mali": (gpus.machine(gpus.MALI), "vulkan-subgroup16-dot"),
    "Apple, whose width nobody can choose": (gpus.machine(gpus.APPLE), "vulkan-subgroup32"),
    "old AMD GCN, which has no dot product": (gpus.machine(gpus.POLARIS), "vulkan-subgroup64"),
    "a virtual GPU": (gpus.machine(VIRTUAL), "vulkan-subgroup32-dot"),
    "no GPU": (gpus.machine(), "cpu-x86-64-v3"),
    "lavapipe": (gpus.machine(gpus.LAVAPIPE), "cpu-x86-64-v3"),
    "a GPU that is too old": (gpus.machine(OLD), "cpu-x86-64-v3"),
    "discrete beside integrated": (
        gpus.machine(gpus.DECK, dataclasses.replace(gpus.ARC, index=1)),
        "vulkan-subgroup16-dot",
    ),
    "CUDA before Vulkan": (gpus.machine(gpus.RTX, H100), "cuda-sm75"),
    "ROCm before Vulkan": (gpus.machine(gpus.DECK, DECK_ROCM), "rocm-wave32"),
    "a discrete Vulkan GPU before an integrated ROCm one": (
        gpus.machine(gpus.RTX, DECK_ROCM),
        "vulkan-subgroup32-dot",
    ),
    "a new chip through PTX": (gpus.machine(RTX_5090), "cuda-sm75"),
}


@pytest.mark.parametrize(("machine", "target"), BY_AUTO.values(), ids=BY_AUTO)
def test_by_itself_the_best_device_and_its_best_library_are_taken(
    machine: Machine, target: str
) -> None:
    selection = choose_library(EVERYTHING, machine)
    assert selection.library.target == target
    assert (selection.device is None) == (selection.library.kind == "cpu")
    assert [verdict.target for verdict in selection.verdicts] == [lib.target for lib in LIBRARIES]


def test_software_is_used_when_vulkan_is_asked_for_by_device_or_target() -> None:
    machine = gpus.machine(gpus.LAVAPIPE)
    for asked in (
        {"device": "vulkan"},
        {"device": "vulkan:0"},
        {"device": "vulkan:llvmpipe"},
        {"target": "vulkan-subgroup8"},
    ):
        selection = choose_library(EVERYTHING, machine, **asked)
        assert selection.library.target == "vulkan-subgroup8"
        assert selection.device is gpus.LAVAPIPE


def test_dot_products_without_an_instruction_are_for_those_who_name_the_target() -> None:
    dot = holding(CPU, vulkan_library("subgroup64-dot", 64, 40, True))
    machine = gpus.machine(gpus.POLARIS)
    assert choose_library(dot, machine).library is CPU
    with pytest.raises(NoLibraryError, match="4x8BitPackedSignedAccelerated, which AMD Radeon RX"):
        choose_library(dot, machine, device="vulkan")
    assert choose_library(dot, machine, target="vulkan-subgroup64-dot").device is gpus.POLARIS


PRODUCTS = "cooperativeMatrix16x16x16Float16Float32"
MATRIX = gpu_library(
    "vulkan-subgroup32-matrix",
    55,
    Requirements(
        "x86_64",
        (),
        vulkan=VulkanNeeds(
            "1.2",
            (*DOT, "cooperativeMatrix", PRODUCTS),
            (32,),
            {"maxComputeSharedMemorySize": 49152},
        ),
    ),
)
WITH_PRODUCTS = dataclasses.replace(
    gpus.HOPPER, features=gpus.HOPPER.features | {"cooperativeMatrix", PRODUCTS}
)


def test_cooperative_matrices_are_preferred_where_the_device_has_the_product() -> None:
    assert (
        choose_library(holding(*LIBRARIES, MATRIX), gpus.machine(WITH_PRODUCTS)).library is MATRIX
    )


@pytest.mark.parametrize(
    ("features", "missing"),
    [({"cooperativeMatrix"}, PRODUCTS), (set(), f"cooperativeMatrix, {PRODUCTS}")],
    ids=["other products", "none"],
)
def test_a_device_without_the_product_gets_dot_products_and_a_reason(
    features: set[str], missing: str
) -> None:
    others = WITH_PRODUCTS.features - {"cooperativeMatrix", PRODUCTS}
    machine = gpus.machine(dataclasses.replace(WITH_PRODUCTS, features=others | features))
    selection = choose_library(holding(*LIBRARIES, MATRIX), machine)
    assert selection.library.target == "vulkan-subgroup32-dot"
    assert selection.verdicts[-1].reason == f"needs {missing}, which {gpus.HOPPER.name} lacks"
    with pytest.raises(NoLibraryError, match=PRODUCTS):
        choose_library(holding(MATRIX), machine, device="vulkan")


def test_a_width_that_a_device_has_but_lets_nobody_require_does_not_count() -> None:
    assert "subgroupSizeControl" in gpus.APPLE.features
    least, most = (
        gpus.report("apple_m1_moltenvk")[f"{end}_subgroup_size"] for end in ("min", "max")
    )
    assert least <= 16 <= most
    narrow = holding(vulkan_library("subgroup16", 16, 1, False))
    assert not judge_libraries(narrow, gpus.machine(gpus.APPLE))[0].runnable
    assert judge_libraries(narrow, gpus.machine(gpus.ARC))[0].runnable


KERNEL = {
    "offset": 0, "bytes": 64, "requires": list(INT), "spirv_version": "1.5", "subgroup_size": 32,
    "shared_bytes": 32768, "local_size": [1024, 1, 1],
}  # fmt: skip


@pytest.mark.parametrize(
    "beyond",
    [{"shared_bytes": 1 << 20}, {"local_size": [4096, 1, 1]}],
    ids=lambda value: next(iter(value)),
)
@pytest.mark.parametrize("device", [gpus.DECK, gpus.RTX, gpus.HOPPER, gpus.PHOENIX, gpus.ARC])
def test_the_needs_that_the_compiler_writes_are_found_in_what_devices_report(
    device: GpuDevice, beyond: dict[str, object]
) -> None:
    def runnable(kernel: dict[str, object]) -> bool:
        needs = Requirements("x86_64", (), vulkan=kernel_needs([kernel]))
        one = holding(gpu_library("vulkan-subgroup32", 1, needs))
        return judge_libraries(one, gpus.machine(device))[0].runnable

    assert set(kernel_needs([KERNEL]).limits) <= set(device.limits)
    assert runnable(KERNEL)
    assert not runnable({**KERNEL, **beyond})


def test_a_real_device_is_taken_before_one_in_software() -> None:
    software = dataclasses.replace(gpus.LAVAPIPE, index=0)
    real = dataclasses.replace(gpus.DECK, index=1)
    selection = choose_library(EVERYTHING, gpus.machine(software, real), device="vulkan")
    assert selection.device is real


TWO = gpus.machine(
    dataclasses.replace(gpus.RTX, index=0, uuid="0" * 32),
    dataclasses.replace(gpus.ARC, index=1, uuid="f" * 32),
)


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ("vulkan", 0),
        ("vulkan:0", 0),
        ("vulkan:1", 1),
        ("vulkan:arc", 1),
        ("vulkan:GeForce", 0),
        (f"vulkan:{'F' * 32}", 1),
    ],
)
def test_a_device_is_named_by_number_part_of_its_name_or_uuid(asked: str, index: int) -> None:
    device = choose_library(EVERYTHING, TWO, device=asked).device
    assert device is not None
    assert device.index == index


@pytest.mark.parametrize("asked", ["vulkan:2", "vulkan:Radeon", "vulkan:ff"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(asked: str) -> None:
    with pytest.raises(NoLibraryError) as caught:
        choose_library(EVERYTHING, TWO, device=asked)
    assert "0 NVIDIA GeForce RTX 4090, 1 Intel(R) Arc" in caught.value.found
    assert asked in caught.value.wanted


def refusals() -> list[tuple[str, Sequence[GpuDevice], dict[str, str], str]]:
    """List a device request, the machine's GPUs, problems, and what the refusal must say."""
    narrow = gpus.vulkan("steam_deck", features=gpus.DECK.features - {"shaderInt64"})
    old_driver = gpus.cuda("NVIDIA L4", "sm_89", driver="12.4")
    return [
        ("vulkan", [], {"vulkan": "no libvulkan.so.1"}, "no libvulkan.so.1"),
        ("vulkan", [narrow], {}, "needs shaderInt64, which "),
        ("vulkan", [OLD], {}, "needs Vulkan 1.2"),
        ("vulkan", [SMALL], {}, "needs maxComputeSharedMemorySize of 32768"),
        ("vulkan", [gpus.vulkan("mali_g720", subgroup_sizes=(4, 4))], {}, "needs subgroups of 16"),
        ("cuda", [], {"cuda": "no libcuda.so.1"}, "no libcuda.so.1"),
        ("cuda", [old_driver], {}, "is for CUDA 12.4: install driver 580 or newer"),
        ("cuda", [gpus.cuda("Tesla V100", "sm_70")], {}, "Tesla V100 (sm_70): use a library"),
        ("cuda", [dataclasses.replace(H100, features=frozenset())], {}, "Prohibited: run"),
        ("rocm", [], {"rocm": "no libamdhip64.so"}, "no libamdhip64.so"),
        ("rocm", [gpus.rocm("Radeon VII", "gfx906:sramecc+:xnack-")], {}, "Radeon VII is gfx906"),
    ]


@pytest.mark.parametrize(("device", "found", "problems", "text"), refusals())
def test_what_cannot_run_is_refused_with_found_wanted_and_fix(
    device: str, found: Sequence[GpuDevice], problems: dict[str, str], text: str
) -> None:
    machine = gpus.machine(*found, **problems)
    with pytest.raises(NoLibraryError) as caught:
        choose_library(EVERYTHING, machine, device=device)
    assert text in caught.value.found
    assert "Some CPU" in caught.value.wanted
    assert caught.value.fix
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize(
    ("chip", "runs"),
    [("sm_75", True), ("sm_86", True), ("sm_90", True), ("sm_100", True), ("sm_70", False)],
)
def test_machine_code_runs_on_later_chips_of_its_major_version_and_ptx_on_all_later(
    chip: str, runs: bool
) -> None:
    verdicts = judge_libraries(holding(CUDA), gpus.machine(gpus.cuda("x", chip)))
    assert verdicts[0].runnable is runs


def test_code_for_one_chip_alone_runs_on_no_other() -> None:
    needs = CudaNeeds(("sm_90a",), (), "13.0")
    only_hopper = gpu_library("cuda-sm90", 1, Requirements("x86_64", (), cuda=needs))
    for chip, runs in (("sm_90", True), ("sm_100", False), ("sm_89", False)):
        verdicts = judge_libraries(holding(only_hopper), gpus.machine(gpus.cuda("x", chip)))
        assert verdicts[0].runnable is runs


@pytest.mark.parametrize(
    ("chip", "runs"),
    [
        ("gfx1100", True),
        ("gfx1033", True),
        ("gfx1036", True),
        ("gfx1101", False),
        ("gfx906", False),
    ],
)
def test_a_generic_architecture_runs_on_all_chips_of_its_family(chip: str, runs: bool) -> None:
    verdicts = judge_libraries(holding(ROCM), gpus.machine(gpus.rocm("x", chip)))
    assert verdicts[0].runnable is runs


def test_runtime_and_compiler_agree_on_the_chips_of_every_family() -> None:
    families = {name: arch.members for name, arch in ARCHITECTURES.items() if arch.is_generic}
    assert families == GENERIC_CHIPS


def test_the_host_must_fit_the_library_of_a_gpu_too() -> None:
    arm = dataclasses.replace(gpus.HOST, machine="aarch64")
    with pytest.raises(NoLibraryError, match="needs x86_64, this machine is aarch64"):
        choose_library(EVERYTHING, gpus.machine(gpus.RTX, host=arm), device="vulkan")


def test_only_kinds_that_matter_are_looked_at() -> None:
    assert wanted_kinds(EVERYTHING) == {"vulkan", "cuda", "rocm"}
    assert wanted_kinds(EVERYTHING, "cpu") == set()
    assert wanted_kinds(EVERYTHING, "vulkan:1") == {"vulkan"}
    assert wanted_kinds(EVERYTHING, target="cuda-sm75") == {"cuda"}
    assert wanted_kinds(holding(CPU)) == set()


def test_unified_memory_counts_in_all_its_heaps_and_a_discrete_gpus_own_alone() -> None:
    deck, arc = gpus.report("steam_deck"), gpus.report("intel_arc_a770")
    assert gpus.DECK.free_bytes == sum(heap["free_bytes"] for heap in deck["heaps"])
    local = [heap["free_bytes"] for heap in arc["heaps"] if heap["device_local"]]
    assert gpus.ARC.free_bytes == sum(local) < sum(heap["free_bytes"] for heap in arc["heaps"])


def test_an_unusable_device_is_passed_over_with_its_reason() -> None:
    bad = {**gpus.report("steam_deck"), "usable": False, "reason": "it has no compute queue"}
    good = gpus.report("intel_arc_a770")
    probe = probe_of({"devices": [bad, good], "reason": ""})
    assert [(device.index, device.name) for device in probe.devices] == [(0, good["name"])]
    nothing = probe_of({"devices": [bad], "reason": "[vulkan:no-device] nothing is there"})
    assert nothing.devices == ()
    assert nothing.problem is not None
    assert nothing.problem.startswith("nothing is there; ")
    assert "it has no compute queue" in nothing.problem


def test_verdicts_name_the_device_they_are_about() -> None:
    verdicts = {v.target: v for v in judge_libraries(EVERYTHING, gpus.machine(gpus.DECK))}
    assert verdicts["vulkan-subgroup32-dot"].runnable
    assert verdicts["vulkan-subgroup64-dot"].runnable
    assert "VANGOGH" in verdicts["vulkan-subgroup32-dot"].reason
    assert "needs subgroups of 16" in verdicts["vulkan-subgroup16-dot"].reason
    assert verdicts["cuda-sm75"].reason == "no cuda device"
