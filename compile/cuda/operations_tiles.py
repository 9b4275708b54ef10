"""Operations of a workgroup that multiplies tiles of halves: a ring of tiles, and the products.

Tiles are those of schedules/gpu/halves.py: 8 rows of activations by 128 columns, 2048 bytes, whose
core matrices of 8 rows by 16 bytes follow one another by side and step. The ring holds stages of
several tiles in shared memory. From 90 on the bulk copy engine fills a stage and a barrier in
shared memory says when (PTX ISA, cp.async.bulk, mbarrier); before, every thread copies its share
(cp.async) and the whole workgroup waits.

    ring_begin      once
    ring_load       iterations 0 .. lead - 1, where lead < stages
    then, in iteration i:
    copy_async_wait lead - 1: what this thread copied for i is there
    ring_wait       i: the stage i % stages is there; before 90 nobody reads stage i - 1 any more
    multiply_tiles  the first steps
    multiply_wait   so that nobody reads stage i - 1 any more, from 90 on
    ring_release    i - 1
    ring_load       i + lead, after what this thread copies for i + lead
    ...             the other steps: multiply_wait, new fragments, multiply_tiles
    multiply_end    once

Products go on in the background, one multiply_tiles at a time behind the newest, whose fragments
must stay as they are until a multiply_wait behind the next one.
"""

from __future__ import annotations

from ferrylm.compile.cuda.operation import Operation, assembly, function

TILE_BYTES = 2048
_STEP_BYTES, _SIDE_BYTES = 256, 128
_BATCH = 2  # steps of one call

_BARRIER_HELP = (
    "#if __CUDA_ARCH__ >= 900\n"
    + function("void", "barrier_wait", "unsigned long long* barrier, int parity",
               assembly("{.reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, "
                        "[%0], %1; @!done bra again;}",
                        ' : : "r"(ferrylm_shared(barrier)), "r"(parity)', memory=True))
    + "#endif\n"
)  # fmt: skip

_BEGIN = """
#if __CUDA_ARCH__ >= 900
if (threadIdx.x == 0) {
  for (int stage = 0; stage < STAGES; ++stage) {
    INIT_FULL
    INIT_EMPTY
  }
  FENCE
}
__syncthreads();
#endif
""".replace(
    "INIT_FULL",
    assembly("mbarrier.init.shared::cta.b64 [%0], 1;",
             ' : : "r"(ferrylm_shared(barriers + stage))', memory=True),
).replace(
    "INIT_EMPTY",
    assembly("mbarrier.init.shared::cta.b64 [%0], %1;",
             ' : : "r"(ferrylm_shared(barriers + STAGES + stage)), "r"((int)blockDim.x / 32)',
             memory=True),
).replace("FENCE", assembly("fence.proxy.async.shared::cta;", memory=True))  # fmt: skip

_LOAD = """
const int stage = iteration % STAGES;
char* to = (char*)ring + stage * (TILES * 2048);
#if __CUDA_ARCH__ >= 900
if (threadIdx.x == 0 && wanted) {
  ferrylm_barrier_wait(barriers + STAGES + stage, iteration / STAGES % 2 ^ 1);
  const int bytes = min(TILES, available) * 2048;
  EXPECT
  COPY
}
__syncwarp();
#else
if (wanted) {
  for (int unit = threadIdx.x; unit < TILES * 128; unit += blockDim.x) {
    const int there = min(unit, available * 128 - 1);
    ferrylm_copy_async_u32x4(to + unit * 16, (const char*)from + there * 16);
  }
}
#endif
ferrylm_copy_async_commit();
""".replace(
    "EXPECT",
    assembly("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;",
             ' : : "r"(ferrylm_shared(barriers + stage)), "r"(bytes)', memory=True),
).replace(
    "COPY",
    assembly("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
             "[%0], [%1], %2, [%3];",
             ' : : "r"(ferrylm_shared(to)), "l"(from), "r"(bytes), '
             '"r"(ferrylm_shared(barriers + stage))', memory=True),
)  # fmt: skip

_WAIT = """
#if __CUDA_ARCH__ >= 900
ferrylm_barrier_wait(barriers + iteration % STAGES, iteration / STAGES % 2);
#else
__syncthreads();
#endif
"""

_RELEASE = """
#if __CUDA_ARCH__ >= 900
__syncwarp();
if (threadIdx.x % 32 == 0) ARRIVE
#endif
""".replace(
    "ARRIVE",
    assembly("mbarrier.arrive.shared::cta.b64 _, [%0];",
             ' : : "r"(ferrylm_shared(barriers + STAGES + iteration % STAGES))', memory=True),
)  # fmt: skip

# One by one: a warp's own 16 rows. ldmatrix takes the addresses of 32 rows of 16 bytes, which
# follow one another here: both sides of two steps.
_STEPS_OF_A_WARP = """
const char* at = (const char*)tiles + threadIdx.x % 32 * 16;
#pragma unroll
for (int tile = 0; tile < TILES; ++tile) {
  float4 d = make_float4(sums[4 * tile], sums[4 * tile + 1], sums[4 * tile + 2],
                         sums[4 * tile + 3]);
  const uint4 b = ferrylm_load_matrix_x4(at + tile * 2048);
  d = ferrylm_mma_m16n8k16_f16(make_uint4(a[0], a[1], a[2], a[3]), make_uint2(b.x, b.y), d);
  d = ferrylm_mma_m16n8k16_f16(make_uint4(a[4], a[5], a[6], a[7]), make_uint2(b.z, b.w), d);
  sums[4 * tile] = d.x; sums[4 * tile + 1] = d.y;
  sums[4 * tile + 2] = d.z; sums[4 * tile + 3] = d.w;
}
"""


def _warpgroup_steps(tiles: int) -> str:
    """Return the specialisation for workgroups whose warps multiply in fours (PTX ISA, wgmma)."""
    sums = 4 * tiles
    results = ", ".join(f"%{i}" for i in range(sums))
    lines = ["{.reg .pred p; setp.eq.u32 p, 0, 0; wgmma.fence.sync.aligned;"]
    for step in range(_BATCH):
        a = ", ".join(f"%{sums + 4 * step + i}" for i in range(4))
        lines.append(
            f"wgmma.mma_async.sync.aligned.m64n{8 * tiles}k16.f32.f16.f16 {{{results}}}, {{{a}}}, "
            f"%{sums + 4 * _BATCH + step}, p, 1, 1, 0;"
        )
    lines.append("wgmma.commit_group.sync.aligned;}")
    outputs = ", ".join(f'"+f"(sums[{i}])' for i in range(sums))
    words = ", ".join(f'"r"(a[{i}])' for i in range(4 * _BATCH))
    matrices = ", ".join(f'"l"(first + {step * _STEP_BYTES // 16})' for step in range(_BATCH))
    text = "\\n".join(lines)
    statement = f'asm volatile("{text}" : {outputs} : {words}, {matrices} : "memory");'
    # Offsets between core matrices in units of 16 bytes: along columns, then along rows.
    offsets = (_SIDE_BYTES // 16) << 16 | (TILE_BYTES // 16) << 32
    return (
        "template <> __device__ __forceinline__ void ferrylm_multiply_tiles_of"
        f"<{tiles}>(float* sums, const unsigned* a, const void* tiles) {{\n"
        "const unsigned long long first = "
        f"(ferrylm_shared(tiles) & 0x3ffff) >> 4 | {offsets}ull;\n{statement} }}\n"
    )


def _warpgroup_end(tiles: int) -> str:
    """Return the specialisation that waits for all products, whose sums change until then."""
    outputs = ", ".join(f'"+f"(sums[{i}])' for i in range(4 * tiles))
    return (
        f"template <> __device__ __forceinline__ void ferrylm_multiply_end_of<{tiles}>(float* sums)"
        f' {{ asm volatile("wgmma.wait_group.sync.aligned 0;" : {outputs} : : "memory"); }}\n'
    )


_HOPPER = "#ifdef __CUDA_ARCH_FEAT_SM90_ALL\n"


WARPGROUP_TILES = (8, 16, 32)  # widths that have instructions of their own here: to 256 rows

_PARAMETERS = "unsigned long long* barriers, "
TILES = (
    Operation(
        "ring_begin", "pointer to 2 * stages barriers of 64 bits, constant stages", "nothing",
        "make the barriers of a ring ready",
        "template <int STAGES> "
        + function("void", "ring_begin_of", "unsigned long long* barriers", _BEGIN)
        + "#define ferrylm_ring_begin(barriers, stages) "
        "ferrylm_ring_begin_of<(stages)>((unsigned long long*)(barriers))\n",
        effect=True,
    ),
    Operation(
        "ring_load",
        "barriers, pointer to the ring, pointer to the first tile, int32 tiles there, "
        "int32 iteration, bool wanted, constants stages and tiles", "nothing",
        "begin to fill the iteration's stage, if wanted; tiles that are not there are anything",
        _BARRIER_HELP + "template <int STAGES, int TILES> "
        + function("void", "ring_load_of", _PARAMETERS + "void* ring, const void* from, "
                   "int available, int iteration, bool wanted", _LOAD)
        + "#define ferrylm_ring_load(barriers, ring, from, available, iteration, wanted, "
        "stages, tiles) ferrylm_ring_load_of<(stages), (tiles)>((unsigned long long*)(barriers), "
        "ring, from, available, iteration, wanted)\n",
        effect=True, needs=("copy_async_u32x4", "copy_async_commit"),
    ),
    Operation(
        "ring_wait", "barriers, int32 iteration, constant stages", "nothing",
        "wait until the iteration's stage is filled",
        "template <int STAGES> "
        + function("void", "ring_wait_of", _PARAMETERS + "int iteration", _WAIT)
        + "#define ferrylm_ring_wait(barriers, iteration, stages) "
        "ferrylm_ring_wait_of<(stages)>((unsigned long long*)(barriers), iteration)\n",
        effect=True, needs=("copy_async_wait", "ring_load"),
    ),
    Operation(
        "ring_release", "barriers, int32 iteration, constant stages", "nothing",
        "say that this warp needs the iteration's stage no more",
        "template <int STAGES> "
        + function("void", "ring_release_of", _PARAMETERS + "int iteration", _RELEASE)
        + "#define ferrylm_ring_release(barriers, iteration, stages) "
        "ferrylm_ring_release_of<(stages)>((unsigned long long*)(barriers), iteration)\n",
        effect=True,
    ),
    Operation(
        "multiply_tiles",
        "pointer to 4 * tiles float32 of this thread, pointer to its 8 words of fragments, "
        "pointer to a step of tiles in shared memory, constant tiles", "nothing",
        "add the products of a warp's 16 rows of weights and the tiles' rows over two steps, "
        "fragments as mma.m16n8k16's; wgmma on 90a, for which four warps come here together and "
        "which goes on in the background",
        "template <int TILES> "
        + function("void", "multiply_tiles_of", "float* sums, const unsigned* a, const void* tiles",
                   _STEPS_OF_A_WARP)
        + _HOPPER
        + "".join(_warpgroup_steps(tiles) for tiles in WARPGROUP_TILES)
        + "#endif\n"
        + "#define ferrylm_multiply_tiles(sums, a, at, tiles) "
        "ferrylm_multiply_tiles_of<(tiles)>(sums, a, at)\n",
        effect=True, needs=("mma_m16n8k16_f16", "load_matrix_x4"),
    ),
    Operation(
        "multiply_wait", "", "nothing",
        "wait until of this warp's products only the newest are under way",
        function("void", "multiply_wait", "", "\n" + _HOPPER
                 + assembly("wgmma.wait_group.sync.aligned 1;", memory=True) + "\n#endif\n"),
        effect=True,
    ),
    Operation(
        "multiply_end", "pointer to 4 * tiles float32 of this thread, constant tiles", "nothing",
        "wait until the sums are all there",
        "template <int TILES> " + function("void", "multiply_end_of", "float* sums", "")
        + _HOPPER + "".join(_warpgroup_end(tiles) for tiles in WARPGROUP_TILES) + "#endif\n"
        + "#define ferrylm_multiply_end(sums, tiles) ferrylm_multiply_end_of<(tiles)>(sums)\n",
        effect=True,
    ),
)  # fmt: skip
