from __future__ import annotations

import dataclasses

import pytest
from artifact_samples import entry_of, library, sample_manifest

from ferrylm.errors import NoLibraryError, UsageError
from ferrylm.runtime.cpu_features import HostCpu
from ferrylm.runtime.devices import Machine
from ferrylm.runtime.manifest import KINDS, Library, Manifest, Requirements
from ferrylm.runtime.selection import Selection, choose_library, judge_libraries

V3 = ("avx2", "fma", "f16c", "bmi2")
V4 = (*V3, "avx512f", "avx512bw", "avx512vl")
VNNI = (*V4, "avx512_vnni")
AMX = (*VNNI, "amx_tile", "amx_int8")
DOT = ("asimd", "asimddp")
I8MM = (*DOT, "i8mm")

LIBRARIES = {
    "cpu-x86-64-v3": ("x86_64", V3, 10),
    "cpu-x86-64-v4": ("x86_64", V4, 20),
    "cpu-x86-64-v4-vnni": ("x86_64", VNNI, 30),
    "cpu-x86-64-amx": ("x86_64", AMX, 40),
    "cpu-aarch64": ("aarch64", ("asimd",), 10),
    "cpu-aarch64-dotprod": ("aarch64", DOT, 20),
    "cpu-aarch64-i8mm": ("aarch64", I8MM, 30),
}

MACHINES = {
    "Zen 3": HostCpu("x86_64", frozenset(V3), "Zen 3", 16, 8),
    "Skylake-X": HostCpu("x86_64", frozenset(V4), "Skylake-X", 16, 8),
    "Zen 5": HostCpu("x86_64", frozenset((*VNNI, "avx_vnni")), "Zen 5", 16, 8),
    "Sapphire Rapids": HostCpu("x86_64", frozenset(AMX), "Sapphire Rapids", 16, 8),
    "Alder Lake": HostCpu("x86_64", frozenset((*V3, "avx_vnni")), "Alder Lake", 20, 14),
    "Nehalem": HostCpu("x86_64", frozenset({"sse4_2"}), "Nehalem", 8, 4),
    "Raspberry Pi 4": HostCpu("aarch64", frozenset({"asimd"}), "Raspberry Pi 4", 4, 4),
    "Raspberry Pi 5": HostCpu("aarch64", frozenset(DOT), "Raspberry Pi 5", 4, 4),
    "Graviton 3": HostCpu("aarch64", frozenset(I8MM), "Graviton 3", 64, 64),
    "RISC-V": HostCpu("riscv64", frozenset(), "unknown processor", 4, 4),
    "hidden": HostCpu("x86_64", frozenset(), "unknown processor", 1, 1),
}

BEST = {
    "Zen 3": "cpu-x86-64-v3",
    "Skylake-X": "cpu-x86-64-v4",
    "Zen 5": "cpu-x86-64-v4-vnni",
    "Sapphire Rapids": "cpu-x86-64-amx",
    "Alder Lake": "cpu-x86-64-v3",
    "Raspberry Pi 4": "cpu-aarch64",
    "Raspberry Pi 5": "cpu-aarch64-dotprod",
    "Graviton 3": "cpu-aarch64-i8mm",
}


def library_for(like: str, **changes: object) -> Library:
    machine, features, preference = LIBRARIES[like]
    return library(
        entry_of(like, ".so", like.encode()),
        **{
            "target": like,
            "preference": preference,
            "requires": Requirements(machine, features),
            **changes,
        },
    )


def choose(manifest: Manifest, host: HostCpu, **asked: str) -> Selection:
    return choose_library(manifest, Machine(host), **asked)


def holding(*libraries: Library) -> Manifest:
    return dataclasses.replace(sample_manifest(), libraries=libraries)


EVERYTHING = holding(*(library_for(target) for target in LIBRARIES))


@pytest.mark.parametrize(("machine", "target"), BEST.items(), ids=BEST)
def test_the_best_library_that_the_machine_can_run_is_taken(machine: str, target: str) -> None:
    selection = choose(EVERYTHING, MACHINES[machine])
    assert selection.library.target == target
    assert [verdict.target for verdict in selection.verdicts] == list(LIBRARIES)
    runnable = {verdict.target for verdict in selection.verdicts if verdict.runnable}
    best = max(LIBRARIES[name][2] for name in runnable)
    assert LIBRARIES[target][2] == best


def cells() -> list[tuple[str, str]]:
    """List every pair of a machine and a library that it must not open."""
    return [
        (name, target)
        for name, host in MACHINES.items()
        for target, (machine, features, _) in LIBRARIES.items()
        if machine != host.machine or not set(features) <= host.features
    ]


def test_there_are_enough_wrong_machines() -> None:
    assert len(cells()) >= 30


@pytest.mark.parametrize(("machine", "target"), cells())
def test_a_wrong_machine_is_refused_with_what_it_lacks(machine: str, target: str) -> None:
    host = MACHINES[machine]
    manifest = holding(library_for(target))
    with pytest.raises(NoLibraryError) as caught:
        choose(manifest, host)
    wanted_machine, features, _ = LIBRARIES[target]
    if wanted_machine != host.machine:
        assert f"needs {wanted_machine}, this machine is {host.machine}" in caught.value.found
    else:
        for feature in set(features) - host.features:
            assert feature in caught.value.found
        for feature in set(features) & host.features:
            assert f"{feature}," not in caught.value.found
    assert target in caught.value.found
    assert host.model_name in caught.value.wanted
    assert caught.value.fix


@pytest.mark.parametrize(("machine", "target"), cells())
def test_naming_a_target_does_not_make_it_runnable(machine: str, target: str) -> None:
    with pytest.raises(NoLibraryError, match=target):
        choose(EVERYTHING, MACHINES[machine], target=target)


def test_a_named_target_wins_over_preference() -> None:
    selection = choose(EVERYTHING, MACHINES["Zen 5"], target="cpu-x86-64-v3")
    assert selection.library.target == "cpu-x86-64-v3"


def test_an_unknown_target_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NoLibraryError) as caught:
        choose(EVERYTHING, MACHINES["Zen 5"], target="cuda-sm90\x1b")
    for target in LIBRARIES:
        assert target in caught.value.wanted
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("device", KINDS[1:])
def test_an_artifact_without_a_library_for_the_device_gets_no_other_device_instead(
    device: str,
) -> None:
    with pytest.raises(NoLibraryError, match=f"no library for the device '{device}'") as caught:
        choose(EVERYTHING, MACHINES["Zen 5"], device=device)
    assert f"--target {device}" in caught.value.fix


@pytest.mark.parametrize(
    "device",
    ["", "gpu", "CPU", "cpu\n", "metal", "cpu:0", "auto:1", "vulkan:", "cuda: ", "rocm:\x1b"],
)
def test_an_unknown_device_is_a_usage_error(device: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose(EVERYTHING, MACHINES["Zen 5"], device=device)
    for known in ("auto", *KINDS):
        assert known in caught.value.wanted


def test_an_artifact_without_libraries_is_refused() -> None:
    with pytest.raises(NoLibraryError, match="holds none"):
        choose(holding(), MACHINES["Zen 5"])


def test_of_equal_preferences_the_first_in_the_manifest_is_taken() -> None:
    first = library_for("cpu-x86-64-v4", preference=5)
    second = library_for("cpu-x86-64-v3", preference=5)
    for libraries in ((first, second), (second, first)):
        selection = choose(holding(*libraries), MACHINES["Zen 5"])
        assert selection.library is libraries[0]


@pytest.mark.parametrize("installed", ["0.26.0", "0.28.1", "1.27.0", "0.2", ""])
def test_another_release_of_tvm_is_refused(installed: str) -> None:
    with pytest.raises(NoLibraryError, match=r"compiled with TVM 0\.27\.0\.post1"):
        choose_library(EVERYTHING, Machine(MACHINES["Zen 5"], installed))


@pytest.mark.parametrize("installed", ["0.27.0.post1", "0.27.1", None])
def test_the_same_release_of_tvm_is_accepted(installed: str | None) -> None:
    assert choose_library(EVERYTHING, Machine(MACHINES["Zen 5"], installed)).library


def test_every_verdict_gives_a_reason() -> None:
    for verdict in choose(EVERYTHING, MACHINES["Zen 3"]).verdicts:
        assert verdict.reason
        assert verdict.runnable == ("preference" in verdict.reason)


def test_the_verdicts_are_there_when_nothing_can_run() -> None:
    verdicts = judge_libraries(EVERYTHING, Machine(MACHINES["RISC-V"]))
    assert [verdict.target for verdict in verdicts] == list(LIBRARIES)
    assert not any(verdict.runnable for verdict in verdicts)
    assert judge_libraries(EVERYTHING, Machine(MACHINES["Zen 5"])) == (
        choose(EVERYTHING, MACHINES["Zen 5"]).verdicts
    )
