"""What no kernel may do is an error that says what and where, and the next launch goes well."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.cuda_emulator.launches import EmulationError, Launch
from tests.support.cuda_emulator.runner import run_source

Array = np.ndarray
WARP, WORKGROUP = Launch(workgroup=(32, 1, 1)), Launch(workgroup=(64, 1, 1))


def kernel(body: str, parameters: str = "float* x") -> str:
    """Return a kernel in the form that TVM prints."""
    return f'extern "C" __global__ void __launch_bounds__(64) f({parameters}) {{\n{body}\n}}\n'


def run(
    body: str, shape: Launch = WARP, *, size: int = 64, backward: bool = False, more: str = ""
) -> Array:
    """Run a kernel on one array of float32 0, 1, 2 ... and return what it becomes."""
    x = np.arange(size, dtype=np.float32)
    return run_source(more + kernel(body), [x], shape, backward=backward)[0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "if (threadIdx.x % 32 < 16) { x[threadIdx.x] = __shfl_xor_sync(~0u, x[0], 1); }",
            "deadlock: threads 0 to 15 wait in __shfl_xor_sync, threads 16 to 31 ended, "
            "threads 32 to 47 wait in",
        ),
        (
            "if (threadIdx.x < 32) { __syncthreads(); }",
            "deadlock: threads 0 to 31 wait in __syncthreads, threads 32 to 63 ended",
        ),
        (
            "if (threadIdx.x % 2) { __syncwarp(); } else { __shfl_sync(~0u, x[0], 1); }",
            "__syncwarp meets __shfl_sync",
        ),
        ("x[threadIdx.x + 64 * blockDim.x] = 1;", "outside of every array"),
        ("x[threadIdx.x] = x[-1000];", "outside of every array"),
        ("*(float4*)(x + threadIdx.x) = *(float4*)x;", "a misaligned vector"),
        ("float y[4]; for (int i = 0; i <= 4; ++i) { y[i] = x[i]; } x[0] = y[0];", "private array"),
        ("x[0] = 7 / ((int)x[0] % (int)blockDim.x);", "an integer divided by zero"),
        ("__shared__ float s[64];\ns[threadIdx.x * 2] = 1; x[0] = s[0];", "array"),
    ],
)
def test_an_error_names_the_operation_and_the_thread(body: str, message: str) -> None:
    with pytest.raises(EmulationError, match=r"f: thread \d+ of workgroup \(0, 0, 0\): ") as error:
        run(body, WORKGROUP)
    assert message in str(error.value)
    np.testing.assert_array_equal(run("x[threadIdx.x] *= 2;"), _doubled(32))


def _doubled(count: int) -> Array:
    x = np.arange(64, dtype=np.float32)
    x[:count] *= 2
    return x


def test_a_write_just_behind_an_array_is_an_error() -> None:
    with pytest.raises(EmulationError, match="f wrote just outside of its array 0"):
        run("x[threadIdx.x] = 1;", size=31)


def test_a_write_beyond_dynamic_shared_memory_is_an_error() -> None:
    body = "extern __shared__ float s[];\ns[threadIdx.x] = x[threadIdx.x];"
    run(body, Launch(dynamic_bytes=128))
    with pytest.raises(EmulationError, match="written beyond the end of shared memory"):
        run(body, Launch(dynamic_bytes=124))


@pytest.mark.parametrize(("arch", "most_kib"), [("75", 64), ("86", 99), ("90a", 227)])
def test_a_workgroup_gets_no_more_shared_memory_than_its_chip_has(arch: str, most_kib: int) -> None:
    source, x = kernel("x[0] = 1;"), np.zeros(1, np.float32)
    run_source(source, [x], Launch(dynamic_bytes=most_kib << 10), arch=arch)
    with pytest.raises(EmulationError, match="bytes of shared memory, where 49152 and"):
        run_source(source, [x], Launch(dynamic_bytes=(most_kib << 10) + 1), arch=arch)


@pytest.mark.parametrize("grid", [(1, 65536, 1), (0, 1, 1)])
def test_a_grid_that_no_chip_takes_is_an_error(grid: tuple[int, int, int]) -> None:
    with pytest.raises(EmulationError, match="f: a grid"):
        run("x[0] = 1;", Launch(grid=grid))


def test_private_memory_that_nobody_wrote_is_garbage() -> None:
    found = run("float y[4]; x[threadIdx.x] = y[threadIdx.x % 4];")[:32]
    assert not (np.abs(found) < 1e30).any()  # or it is no number


def test_shared_memory_that_nobody_wrote_is_not_a_number() -> None:
    body = """__shared__ float s[32];
    if (threadIdx.x > 0) s[threadIdx.x] = 1;
    x[threadIdx.x] = s[threadIdx.x];"""
    found = run(body)
    assert np.isnan(found[0])
    assert (found[1:32] == 1).all()


def test_workgroups_do_not_see_each_others_shared_memory() -> None:
    body = "__shared__ float s[1];\nx[blockIdx.x] = s[0];\ns[0] = 1;"
    assert np.isnan(run(body, Launch(grid=(8, 1, 1), workgroup=(1, 1, 1)))[:8]).all()


@pytest.mark.parametrize("barrier", ["", "__syncthreads();"])
def test_a_missing_barrier_shows_in_one_of_the_two_orders(barrier: str) -> None:
    body = """__shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    BARRIER
    x[threadIdx.x] = s[(threadIdx.x + 1) % 64];""".replace("BARRIER", barrier)
    found = [run(body, WORKGROUP, backward=way) for way in (False, True)]
    wanted = np.roll(np.arange(64, dtype=np.float32), -1)
    assert all((one == wanted).all() for one in found) == bool(barrier)


@pytest.mark.parametrize("barrier", ["", "__syncthreads();"])
def test_a_warp_that_may_run_ahead_does(barrier: str) -> None:
    """What the first warp writes next is not to be there before the second one has read."""
    body = """__shared__ float s[32];
    for (int i = 0; i < 4; ++i) {
      if (threadIdx.x < 32) s[threadIdx.x] = i;
      __syncthreads();
      if (threadIdx.x >= 32) x[threadIdx.x] += s[threadIdx.x - 32] * (i + 1);
      BARRIER
    }""".replace("BARRIER", barrier)
    found = [run(body, WORKGROUP, backward=way) for way in (False, True)]
    wanted = np.arange(64, dtype=np.float32)
    wanted[32:] += 2 + 6 + 12
    assert all((one == wanted).all() for one in found) == bool(barrier)


COPY = """
static void copy(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
               : : "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from) : "memory");
}
static void commit() { asm volatile("cp.async.commit_group;" : : : "memory"); }
template <int N> static void wait() { asm volatile("cp.async.wait_group %0;" : : "n"(N)); }
"""


@pytest.mark.parametrize("waited", [0, 1])
def test_a_copy_that_is_not_waited_for_has_not_come(waited: int) -> None:
    body = """__shared__ alignas(16) float s[32];
    if (threadIdx.x < 8) copy(s + 4 * threadIdx.x, x + 32 + 4 * threadIdx.x);
    commit();
    wait<WAITED>();
    __syncwarp();
    x[threadIdx.x] = s[threadIdx.x];""".replace("WAITED", str(waited))
    found = run(body, more=COPY)[:32]
    if waited == 0:
        np.testing.assert_array_equal(found, np.arange(32, 64))
    else:
        assert np.isnan(found).all()


def test_a_copy_that_is_begun_too_early_shows_where_threads_run_backward() -> None:
    body = """__shared__ alignas(16) float s[32];
    s[threadIdx.x] = 1;
    __syncwarp();
    if (threadIdx.x == 31) copy(s, x + 32);
    commit();
    x[threadIdx.x] = s[threadIdx.x];
    __syncwarp();
    wait<0>();"""
    assert (run(body, more=COPY)[:32] == 1).all()
    assert (run(body, more=COPY, backward=True)[1:4] == [33, 34, 35]).all()
