from __future__ import annotations

import platform
from pathlib import Path

import pytest

from ferrylm.runtime import cpu_features
from ferrylm.runtime.cpu_features import host_cpu, parse_cpuinfo

# Shortened flag lists of real machines; what is left out does not matter to the parser.
BASE = "fpu sse sse2 ht syscall nx pni ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt avx f16c avx2 bmi2"
ZEN_3 = f"{BASE} rdseed sha_ni vaes vpclmulqdq"
SKYLAKE_X = f"{BASE} avx512f avx512dq avx512cd avx512bw avx512vl"
ZEN_5 = f"{SKYLAKE_X} avx_vnni avx512_bf16 avx512vbmi avx512_vnni avx512_vp2intersect"
SAPPHIRE_RAPIDS = f"{ZEN_5} avx512_fp16 amx_bf16 amx_tile amx_int8"
ALDER_LAKE = f"{BASE} avx_vnni gfni"
PI_5 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc asimddp"
)
GRAVITON_3 = f"{PI_5} sha3 sve svei8mm i8mm bf16 dgh rng"


def x86_text(flags: str, model: str, cores: int = 2, threads_per_core: int = 1) -> str:
    blocks = []
    for number in range(cores * threads_per_core):
        blocks.append(
            f"processor\t: {number}\nvendor_id\t: GenuineIntel\nmodel name\t: {model}\n"
            f"physical id\t: 0\ncore id\t\t: {number % cores}\nflags\t\t: {flags}\n"
            "vmx flags\t: vnmi ept avx9000\nbugs\t\t: spectre_v1\npower management:\n"
        )
    return "\n".join(blocks) + "\n"


def arm_text(features: str, cores: int = 4, tail: str = "") -> str:
    blocks = [
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\n"
        for number in range(cores)
    ]
    return "\n".join([*blocks, tail])


@pytest.mark.parametrize(
    ("flags", "has", "lacks"),
    [
        (ZEN_3, {"avx2", "fma"}, {"avx512f", "avx_vnni", "avx512_vnni"}),
        (SKYLAKE_X, {"avx2", "avx512f", "avx512bw", "avx512vl"}, {"avx512_vnni", "amx_tile"}),
        (ZEN_5, {"avx512_vnni", "avx_vnni", "avx512_bf16"}, {"amx_tile", "amx_int8"}),
        (SAPPHIRE_RAPIDS, {"amx_tile", "amx_int8", "avx512_vnni"}, set()),
        (ALDER_LAKE, {"avx_vnni", "avx2"}, {"avx512f", "avx512_vnni"}),
    ],
    ids=["Zen 3", "Skylake-X", "Zen 5", "Sapphire Rapids", "Alder Lake"],
)
def test_flags_of_x86_are_read(flags: str, has: set[str], lacks: set[str]) -> None:
    cpu = parse_cpuinfo(x86_text(flags, "A CPU @ 3.00GHz"), "x86_64")
    assert cpu.features == set(flags.split())
    assert cpu.features >= has
    assert not cpu.features & lacks
    assert cpu.model_name == "A CPU @ 3.00GHz"
    assert cpu.machine == "x86_64"


def test_flags_of_guests_are_not_flags_of_the_machine() -> None:
    assert "avx9000" not in parse_cpuinfo(x86_text(ZEN_3, "x"), "x86_64").features


def test_threads_of_one_core_are_one_physical_core() -> None:
    cpu = parse_cpuinfo(x86_text(ZEN_3, "x", cores=8, threads_per_core=2), "x86_64")
    assert (cpu.logical_cores, cpu.physical_cores) == (16, 8)


def test_equal_core_numbers_of_two_packages_are_two_cores() -> None:
    text = x86_text(ZEN_3, "x", cores=2)
    second = text.replace("physical id\t: 0", "physical id\t: 1").replace(
        "processor\t: ", "processor\t: 1"
    )
    assert parse_cpuinfo(text + second, "x86_64").physical_cores == 4


def test_a_raspberry_pi_5_is_read() -> None:
    tail = "Revision\t: d04170\nSerial\t: 0\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
    cpu = parse_cpuinfo(arm_text(PI_5, tail=tail), "aarch64")
    assert {"asimd", "asimddp"} <= cpu.features
    assert "i8mm" not in cpu.features
    assert cpu.model_name == "Raspberry Pi 5 Model B Rev 1.0"
    assert (cpu.logical_cores, cpu.physical_cores) == (4, 4)


def test_a_graviton_is_read_and_named_by_its_part() -> None:
    cpu = parse_cpuinfo(arm_text(GRAVITON_3, cores=64), "aarch64")
    assert {"asimddp", "i8mm", "sve"} <= cpu.features
    assert cpu.model_name == "Arm implementer 0x41, part 0xd0b"
    assert cpu.physical_cores == 64


def test_a_feature_that_one_core_lacks_does_not_count() -> None:
    text = arm_text(GRAVITON_3, cores=2) + "\n" + arm_text(PI_5, cores=2)
    assert parse_cpuinfo(text, "aarch64").features == set(PI_5.split())


def test_a_core_without_a_flag_line_leaves_no_feature() -> None:
    text = x86_text(ZEN_3, "x") + "\nprocessor\t: 2\nmodel name\t: x\n"
    assert parse_cpuinfo(text, "x86_64").features == frozenset()


@pytest.mark.parametrize("text", ["", "\n\n\n", "nonsense", "processor", "a: b: c", "\0\ufffd"])
def test_a_text_that_says_nothing_gives_a_machine_without_features(text: str) -> None:
    cpu = parse_cpuinfo(text, "riscv64")
    assert cpu.features == frozenset()
    assert cpu.logical_cores >= 1
    assert cpu.physical_cores >= 1
    assert cpu.model_name == "unknown processor"


def test_this_machine_is_read() -> None:
    cpu = host_cpu()
    assert cpu.machine == platform.machine()
    assert 1 <= cpu.physical_cores <= cpu.logical_cores
    expected = {"x86_64": "sse2", "aarch64": "asimd"}.get(cpu.machine)
    assert expected is None or expected in cpu.features


def test_a_machine_that_hides_its_processor_has_no_features(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cpu_features, "_CPUINFO", tmp_path / "absent")
    assert host_cpu().features == frozenset()
