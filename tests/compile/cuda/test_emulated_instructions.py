from __future__ import annotations

import numpy as np
import pytest

from ferrylm.compile.cuda.operations import OPERATIONS
from ferrylm.compile.cuda.prelude import prelude
from tests.support.cuda_emulator.assembly import UnknownAssembly, translate
from tests.support.cuda_emulator.launches import EmulationError, Launch
from tests.support.cuda_emulator.runner import run_source

Array = np.ndarray
# Operations that no test can run without a GPU, and why.
NOT_EMULATED: dict[str, str] = {}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_operation_can_be_emulated_or_stands_on_the_list(name: str) -> None:
    if name in NOT_EMULATED:
        with pytest.raises(UnknownAssembly):
            translate(prelude([name]))
    else:
        assert "asm" not in translate(prelude([name]))


def test_an_instruction_without_a_body_is_named() -> None:
    with pytest.raises(UnknownAssembly, match=r"tanh_approx_f32 in include/ptx_\*.h for tanh\."):
        translate('void f(float& x) { asm("tanh.approx.f32 %0, %1;" : "=f"(x) : "f"(x)); }')


HALF_SOURCE = r"""
extern "C" __global__ void __launch_bounds__(256) f(half* a, half* b, half* c, half* out) {
  const int i = blockIdx.x * 256 + threadIdx.x, n = gridDim.x * 256;
  out[i] = a[i] + b[i];
  out[n + i] = a[i] - b[i];
  out[2 * n + i] = a[i] * b[i];
  out[3 * n + i] = a[i] / b[i];
  out[4 * n + i] = __hfma(a[i], b[i], c[i]);
  out[5 * n + i] = hexp(a[i]);
  out[6 * n + i] = (half)(float)a[i];
}
"""


def test_arithmetic_of_halves_rounds_once() -> None:
    generator = np.random.default_rng(0)
    n = 1 << 16
    a = np.arange(n, dtype=np.uint16).view(np.float16)
    b, c = (generator.integers(0, n, n).astype(np.uint16).view(np.float16) for _ in range(2))
    out = np.zeros(7 * n, np.float16)
    shape = Launch(grid=(n // 256, 1, 1), workgroup=(256, 1, 1))
    found = run_source(HALF_SOURCE, [a, b, c, out], shape)[3].reshape(7, n)
    with np.errstate(all="ignore"):
        wide = [x.astype(np.float64) for x in (a, b, c)]
        wanted = (
            *(wide[0] + wide[1], wide[0] - wide[1], wide[0] * wide[1], wide[0] / wide[1]),
            *(wide[0] * wide[1] + wide[2], np.exp(wide[0]), wide[0]),
        )
        rounded = [x.astype(np.float16) for x in wanted]
    for one, two in zip(found, rounded, strict=True):
        np.testing.assert_array_equal(one, two)


BARRIER_HELP = """
static unsigned at(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }
static void begin(void* b, int n) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" : : "r"(at(b)), "r"(n) : "memory");
}
static void arrive(void* b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" : : "r"(at(b)) : "memory");
}
static void expect(void* b, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               : : "r"(at(b)), "r"(bytes) : "memory");
}
static void wait(void* b, int parity) {
  asm volatile("{.reg .pred done; again: "
               "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; @!done bra again;}"
               : : "r"(at(b)), "r"(parity) : "memory");
}
static void copy(void* to, const void* from, int bytes, void* b) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0], [%1], %2, [%3];" : : "r"(at(to)), "l"(from), "r"(bytes), "r"(at(b)));
}
"""
RING = (
    BARRIER_HELP
    + """
extern "C" __global__ void __launch_bounds__(64) f(float* x, float* y) {
  __shared__ alignas(64) float ring[64];
  __shared__ alignas(64) unsigned long long full[2];
  __shared__ alignas(64) unsigned long long free[2];
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) { begin(full + i, 1); begin(free + i, 1); }
  }
  __syncthreads();
  for (int i = 0; i < 8; ++i) {
    if (threadIdx.x == 0) {
      wait(free + i % 2, i / 2 % 2 ^ FREE);
      expect(full + i % 2, BYTES);
      copy(ring + i % 2 * 32, x + i * 32, 128, full + i % 2);
    }
    if (threadIdx.x >= 32) {
      wait(full + i % 2, i / 2 % 2);
      y[i * 32 + threadIdx.x - 32] = ring[i % 2 * 32 + threadIdx.x - 32];
      __syncwarp();
      if (threadIdx.x == 32) arrive(free + i % 2);
    }
  }
}
"""
)


def run_ring(free: int, sent: int, *, backward: bool) -> Array:
    x = np.arange(256, dtype=np.float32)
    source = RING.replace("FREE", str(free)).replace("BYTES", str(sent))
    shape = Launch(workgroup=(64, 1, 1))
    return run_source(source, [x, x * 0], shape, backward=backward)[1]


@pytest.mark.parametrize("backward", [False, True])
def test_a_ring_of_bulk_copies_carries_everything_in_order(backward: bool) -> None:
    np.testing.assert_array_equal(run_ring(1, 128, backward=backward), np.arange(256))


@pytest.mark.parametrize(("free", "sent"), [(0, 128), (1, 144)])
def test_a_wrong_phase_or_size_never_ends_and_says_so(free: int, sent: int) -> None:
    with pytest.raises(EmulationError, match=r"deadlock: .*wait in mbarrier\.try_wait"):
        run_ring(free, sent, backward=False)


def test_a_barrier_that_was_not_begun_is_an_error() -> None:
    source = (
        BARRIER_HELP
        + """
extern "C" __global__ void __launch_bounds__(1) f(float* x) {
  __shared__ alignas(64) unsigned long long full[1];
  arrive(full);
  x[0] = 1;
}
"""
    )
    with pytest.raises(EmulationError, match="an mbarrier at address 0 that was not begun"):
        run_source(source, [np.zeros(1, np.float32)], Launch(workgroup=(1, 1, 1)))


NAMED = """
static void meet(int id, int count) { asm volatile("bar.sync %0, %1;" : : "r"(id), "r"(count)); }
static void tell(int id, int count) { asm volatile("bar.arrive %0, %1;" : : "r"(id), "r"(count)); }
extern "C" __global__ void __launch_bounds__(96) f(float* x) {
  __shared__ float s[32];
  if (threadIdx.x < 32) { s[threadIdx.x] = x[threadIdx.x]; tell(1, COUNT); }
  else if (threadIdx.x < 64) { meet(1, COUNT); x[threadIdx.x] = 2 * s[threadIdx.x - 32]; }
}
"""


@pytest.mark.parametrize("backward", [False, True])
def test_a_named_barrier_is_for_those_that_come_to_it(backward: bool) -> None:
    shape = Launch(workgroup=(96, 1, 1))
    x = np.arange(96, dtype=np.float32)
    (found,) = run_source(NAMED.replace("COUNT", "64"), [x], shape, backward=backward)
    np.testing.assert_array_equal(found[32:64], 2 * x[:32])
    with pytest.raises(EmulationError, match=r"deadlock: .*threads 32 to 63 wait in a named"):
        run_source(NAMED.replace("COUNT", "96"), [x], shape, backward=backward)


def warpgroup_source(columns: int, along: int, down: int) -> str:
    """Return a kernel that multiplies 64 x 16 halves by those that it puts into shared memory."""
    count = columns // 2
    results = ", ".join(f"%{i}" for i in range(count))
    words = ", ".join(f"%{count + i}" for i in range(4))
    outputs = ", ".join(f'"+f"(d[{i}])' for i in range(count))
    inputs = ", ".join(f'"r"(w[{i}])' for i in range(4))
    return f"""
extern "C" __global__ void __launch_bounds__(128) f(half* a, half* b, float* c) {{
  extern __shared__ unsigned char s[];
  for (int i = threadIdx.x; i < {columns * 16}; i += 128) {{
    const int row = i / 16, k = i % 16;
    *(half*)(s + row / 8 * {down} + k / 8 * {along} + row % 8 * 16 + k % 8 * 2) = b[i];
  }}
  __syncthreads();
  const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
  unsigned w[4];
  for (int i = 0; i < 4; ++i) {{
    w[i] = *(unsigned*)(a + (row + i % 2 * 8) * 16 + i / 2 * 8 + column);
  }}
  float d[{count}];
  for (int i = 0; i < {count}; ++i) {{
    d[i] = c[(row + i / 2 % 2 * 8) * {columns} + i / 4 * 8 + column + i % 2];
  }}
  const unsigned long long at = __cvta_generic_to_shared(s) >> 4 | {along // 16}ull << 16
                                | {down // 16}ull << 32;
  asm volatile("{{.reg .pred p; setp.eq.u32 p, 0, 0; wgmma.fence.sync.aligned; "
    "wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.f16.f16 "
    "{{{results}}}, {{{words}}}, %{count + 4}, p, 1, 1, 0; "
    "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;}}"
    : {outputs} : {inputs}, "l"(at) : "memory");
  for (int i = 0; i < {count}; ++i) {{
    c[(row + i / 2 % 2 * 8) * {columns} + i / 4 * 8 + column + i % 2] = d[i];
  }}
}}
"""


@pytest.mark.parametrize(("columns", "along", "down"), [(8, 128, 256), (64, 1024, 128)])
def test_a_product_of_a_warpgroup_is_that_of_numpy(columns: int, along: int, down: int) -> None:
    generator = np.random.default_rng(1)
    a = generator.standard_normal((64, 16)).astype(np.float16)
    b = generator.standard_normal((columns, 16)).astype(np.float16)
    c = generator.standard_normal((64, columns)).astype(np.float32)
    shape = Launch(workgroup=(128, 1, 1), dynamic_bytes=4096)
    found = run_source(warpgroup_source(columns, along, down), [a, b, c], shape)[2]
    wanted = a.astype(np.float64) @ b.astype(np.float64).T + c
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("wgmma.fence.sync.aligned;", "without wgmma.fence before it"),
        ("wgmma.commit_group.sync.aligned;", "a wgmma that nobody waited for"),
        ("wgmma.wait_group.sync.aligned 0;", "a wgmma that nobody waited for"),
    ],
)
def test_a_product_of_a_warpgroup_without_one_of_its_steps_is_an_error(
    missing: str, message: str
) -> None:
    source = warpgroup_source(8, 128, 256).replace(missing, "")
    arrays = [np.zeros((64, 16), np.float16), np.zeros((8, 16), np.float16)]
    shape = Launch(workgroup=(128, 1, 1), dynamic_bytes=4096)
    with pytest.raises(EmulationError, match=message):
        run_source(source, [*arrays, np.zeros((64, 8), np.float32)], shape)
