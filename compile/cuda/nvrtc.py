"""Compiling CUDA sources for many architectures, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ferrylm.compile.cuda.architectures import Architecture, body_for
from ferrylm.compile.cuda.toolkit import VERSION, Toolkit
from ferrylm.errors import CompileError

TIMEOUT_SECONDS = 1800
_WORKER = Path(__file__).resolve().parent / "nvrtc_worker.py"

Report = Callable[[Architecture, int, int], None]  # the one done, how many are, of how many

# TVM's sources want these two of libcu++; these few lines are all they use of them.
_HEADERS = {
    "cuda/std/cstdint": """#pragma once
namespace cuda { namespace std {
typedef signed char int8_t; typedef unsigned char uint8_t;
typedef short int16_t; typedef unsigned short uint16_t;
typedef int int32_t; typedef unsigned int uint32_t;
typedef long long int64_t; typedef unsigned long long uint64_t;
} }
""",
    "cuda/std/type_traits": """#pragma once
namespace cuda { namespace std {
template <bool B, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <bool B, class T, class F> struct conditional { typedef T type; };
template <class T, class F> struct conditional<false, T, F> { typedef F type; };
template <class A, class B> struct is_same { static constexpr bool value = false; };
template <class A> struct is_same<A, A> { static constexpr bool value = true; };
template <class A, class B> inline constexpr bool is_same_v = is_same<A, B>::value;
template <class T> struct is_floating_point { static constexpr bool value = false; };
template <> struct is_floating_point<float> { static constexpr bool value = true; };
template <> struct is_floating_point<double> { static constexpr bool value = true; };
template <class T> struct is_integral { static constexpr bool value = false; };
template <class T> struct is_signed : is_floating_point<T> {};
template <class T> struct is_unsigned { static constexpr bool value = false; };
#define FERRYLM_INTEGER(T) \\
template <> struct is_integral<T> { static constexpr bool value = true; }; \\
template <> struct is_signed<T> { static constexpr bool value = (T)-1 < (T)0; }; \\
template <> struct is_unsigned<T> { static constexpr bool value = (T)0 < (T)-1; };
FERRYLM_INTEGER(bool) FERRYLM_INTEGER(char) FERRYLM_INTEGER(signed char)
FERRYLM_INTEGER(unsigned char) FERRYLM_INTEGER(short) FERRYLM_INTEGER(unsigned short)
FERRYLM_INTEGER(int) FERRYLM_INTEGER(unsigned int) FERRYLM_INTEGER(long)
FERRYLM_INTEGER(unsigned long) FERRYLM_INTEGER(long long) FERRYLM_INTEGER(unsigned long long)
} }
""",
}


def compile_bodies(
    bodies: Mapping[str, str],
    architectures: Sequence[Architecture],
    toolkit: Toolkit,
    *,
    workers: int | None = None,
    report: Report | None = None,
) -> dict[Architecture, bytes]:
    """Compile every architecture's body; return cubins, and PTX for PTX architectures.

    `bodies` are CUDA sources under the names that `body_for` knows. Raises CompileError with the
    compiler's first message.
    """
    code: dict[Architecture, bytes] = {}
    with ThreadPoolExecutor(workers or _usable_cores()) as pool:
        jobs = [
            (arch, pool.submit(_compile, bodies[body_for(arch, tuple(bodies))], arch, toolkit))
            for arch in architectures
        ]
        try:
            for arch, job in jobs:
                code[arch] = job.result()
                if report is not None:
                    report(arch, len(code), len(jobs))
        except CompileError:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return code


def _compile(source: str, arch: Architecture, toolkit: Toolkit) -> bytes:
    job = {
        "nvrtc": str(toolkit.nvrtc),
        "builtins": str(toolkit.nvrtc_builtins),
        "version": list(VERSION),
        "headers": _HEADERS,
        "options": _options(arch, toolkit),
        "ptx": arch.ptx,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_WORKER)],
            input=json.dumps(job).encode() + b"\n" + source.encode(),
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(arch, str(error)) from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        faults = [line for line in lines if "error" in line] or lines
        raise _failed(arch, faults[0] if faults else f"exit status {done.returncode}")
    return done.stdout


def _options(arch: Architecture, toolkit: Toolkit) -> list[str]:
    # No --use_fast_math: it flushes denormals and makes division approximate in every kernel.
    return [f"--gpu-architecture={arch.name}", "--std=c++17", f"--include-path={toolkit.include}"]


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0))


def _failed(arch: Architecture, found: str) -> CompileError:
    return CompileError(
        f"NVRTC failed for {arch.name}: {found}",
        wanted=f"kernels that NVRTC {VERSION[0]}.{VERSION[1]} compiles",
        fix="install ferrylm[cuda] afresh, or leave this architecture out of --cuda-arch",
    )
