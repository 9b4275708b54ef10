"""Tiles of the GPU kernels, as data.

Those of products with subgroups of 32 were chosen on an H200 on the shapes of Llama 3 8B, those
that load ahead in whole steps whose kernels overlap; those with subgroups of 8 on lavapipe. 16 and
64 follow 32 and were run nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.amd_tiles import amd_tile
from ferrylm.schedules.gpu.attention_cooperative_plan import fits_cooperative
from ferrylm.schedules.gpu.attention_decode_plan import DecodePlan, DecodeTile
from ferrylm.schedules.gpu.attention_matrix_plan import MatrixAttentionTile, fits_matrix_units
from ferrylm.schedules.gpu.attention_plan import AttentionTile
from ferrylm.schedules.gpu.halves_grid import GROUPS as HALVES_GROUPS
from ferrylm.schedules.gpu.halves_grid import HalvesStreamTile, HalvesTile
from ferrylm.schedules.gpu.layout import GROUP, KEY_VECTOR, WeightFormat, groups
from ferrylm.schedules.gpu.matvec_choice import tuned_tile
from ferrylm.schedules.gpu.matvec_grid import MatvecTile, Product
from ferrylm.schedules.gpu.matvec_small import small_tile
from ferrylm.schedules.gpu.profile import GpuProfile

ROW_TILE = 8  # rows of activations that prefill works on together
PREFILL_CHUNK = 256  # tokens of one call of prefill
PREFILL_CHUNK_MATRIX = 1024  # the same where matrix units want long ones; takes memory


@dataclass(frozen=True)
class MatvecChoice:
    """The tile of products with at most `rows` rows and at least `columns` columns."""

    rows: int
    columns: int
    tile: MatvecTile


_ANY = 1 << 62
# The first that holds counts. One row of activations, results in float32:
ONE_ROW = (
    MatvecChoice(_ANY, 8192, MatvecTile(8, 4, split=4, unroll=2)),
    MatvecChoice(16384, 0, MatvecTile(4, 2, ahead=True)),
    MatvecChoice(_ANY, 0, MatvecTile(4, 4, ahead=True)),
)
# The same with quantized results: 32 outputs a workgroup.
ONE_ROW_PREPARED = (
    MatvecChoice(_ANY, 8192, MatvecTile(32, 4, split=4, unroll=2, ahead=True)),
    MatvecChoice(16384, 0, MatvecTile(32, 2, split=2, ahead=True)),
    MatvecChoice(_ANY, 0, MatvecTile(16, 4, ahead=True)),
)
# The same where kernels overlap: half of the threads hold two steps of weights without spilling.
ONE_ROW_PREPARED_OVERLAPPED = (
    MatvecChoice(_ANY, 8192, MatvecTile(16, 4, split=2, unroll=2, ahead=True)),
    *ONE_ROW_PREPARED[1:],
)
MANY_ROWS = MatvecTile(4, 2)
MANY_ROWS_PREPARED = MatvecTile(16, 2)
OWN_ROWS = {1: MatvecTile(1, 8), 2: MatvecTile(1, 8)}  # of a lane, by rows of activations
OWN_ROWS_MANY = MatvecTile(1, 4)
NARROW_SUBGROUP = MatvecTile(4, 4)
NARROW_SUBGROUP_PREPARED = MatvecTile(8, 4)


# Products on matrix units: on chips with the copy engine, where a matrix has so few rows that its
# workgroups would leave multiprocessors idle, and before.
HALVES_OVERLAPPED = HalvesTile(8, 16, stages=3, lead=1, workgroups=2)
HALVES_OVERLAPPED_FEW = (2048, HalvesTile(8, 8, stages=4, lead=2, workgroups=2))
HALVES = HalvesTile(8, 8, stages=3, lead=2)


# Those of a few rows, by the least rows of the matrix.
HALVES_STREAM = (
    (65536, HalvesStreamTile(8, 8, 2)),
    (16384, HalvesStreamTile(4, 4, 2)),
    (0, HalvesStreamTile(16, 16, 1)),
)


def prefill_chunk(profile: GpuProfile) -> int:
    """Return how many tokens one call of prefill takes at most."""
    units = profile.matrix or profile.cooperative is not None
    return PREFILL_CHUNK_MATRIX if units else PREFILL_CHUNK


def in_halves(profile: GpuProfile, rows: Rows, fmt: WeightFormat) -> bool:
    """Return whether a product's activations are float16: where matrix units have enough rows."""
    if profile.cooperative is not None:
        return rows.count is None and fmt.integer
    return on_matrix_units(profile, rows) and fmt.integer


def plain_in_halves(profile: GpuProfile, rows: Rows, fmt: WeightFormat) -> bool:
    """Return the same for float16 weights, if their arithmetic may round activations."""
    many = rows.count is None and profile.matrix and profile.cooperative is None
    return many and fmt.storage == "f16" and fmt.vector == KEY_VECTOR


def halves_tile(profile: GpuProfile, rows: int) -> HalvesTile:
    """Return the tile of products of halves with a matrix of `rows` rows."""
    if not profile.overlap:
        return HALVES
    limit, few = HALVES_OVERLAPPED_FEW
    return few if rows < limit else HALVES_OVERLAPPED


def halves_stream_tile(product: Product) -> HalvesStreamTile:
    """Return the tile of products of halves of a decode step."""
    found = next(tile for rows, tile in HALVES_STREAM if product.fmt.rows >= rows)
    chunks = -(-groups(product.fmt.columns) // HALVES_GROUPS)
    while found.split > chunks:  # subgroups without a chunk of their own
        found = replace(found, split=found.split // 2, subgroups=found.subgroups // 2)
    return found


def on_matrix_units(profile: GpuProfile, rows: Rows) -> bool:
    """Return whether there are enough rows of activations for matrix units, two or more."""
    return profile.matrix and rows.tile > 1


def row_threads(profile: GpuProfile, width: int) -> int:
    """Return the threads of a workgroup that works on one row of activations."""
    most = 128 if profile.subgroup == 8 else 512
    threads = profile.subgroup
    while threads < min(-(-width // 4), most):
        threads *= 2
    return threads


def matvec_tile(profile: GpuProfile, product: Product) -> MatvecTile:
    """Return the tile of a product."""
    prepared, fmt = product.parts > 0, product.fmt
    if profile.rows_in_lanes and fmt.grouped and not fmt.integer:
        return OWN_ROWS.get(product.rows.tile, OWN_ROWS_MANY)
    measured = tuned_tile(profile, product)
    if measured is not None:
        return measured
    small = small_tile(profile, product)
    if small is not None:
        return small
    if profile.kind == "rocm":
        wanted = amd_tile(product)
        return _fitting(wanted, wanted.lanes, groups(fmt.columns))
    if profile.subgroup == 8:
        wanted = NARROW_SUBGROUP_PREPARED if prepared else NARROW_SUBGROUP
    elif product.rows.tile > 1:
        wanted = MANY_ROWS_PREPARED if prepared else MANY_ROWS
    else:
        quantized = ONE_ROW_PREPARED_OVERLAPPED if profile.overlap else ONE_ROW_PREPARED
        table = quantized if prepared else ONE_ROW
        wanted = next(c for c in table if fmt.rows <= c.rows and fmt.columns >= c.columns).tile
    if prepared and product.pairs:
        # An output takes two rows, and a workgroup's outputs are to be whole groups.
        while wanted.rows // 2 * wanted.subgroups // wanted.split % GROUP:
            wanted = replace(wanted, rows=wanted.rows * 2)
    return _fitting(wanted, profile.subgroup, groups(fmt.columns))


# Of a workgroup, by subgroup width: more leave too few registers. Twice the rows of a subgroup
# instead leave none for loads ahead.
MOST_THREADS = {64: 512}


def _fitting(tile: MatvecTile, width: int, column_groups: int) -> MatvecTile:
    """Return a tile with as many outputs that leaves no lane idle and is no too large workgroup."""
    most = MOST_THREADS.get(width, 1024)
    steps = max(1, column_groups // width)  # of a lane of a subgroup that has the row alone
    while tile.split > 1 and (tile.split > steps or tile.subgroups * width > most):
        tile = replace(tile, split=tile.split // 2, subgroups=tile.subgroups // 2)
    while tile.subgroups * width > most:
        tile = replace(tile, subgroups=tile.subgroups // 2, rows=tile.rows * 2, ahead=False)
    while tile.unroll > 1 and tile.split * tile.unroll > steps:
        tile = replace(tile, unroll=tile.unroll // 2)
    if tile.ahead and 2 * tile.split * tile.unroll > steps:
        tile = replace(tile, ahead=False)
    return tile


def attention_tile(profile: GpuProfile, head_dim: int) -> AttentionTile:
    """Return the tile of attention of prefill over heads of `head_dim` elements."""
    threads = 64 if profile.subgroup == 8 else 128
    while threads * 4 < head_dim:
        threads *= 2
    return AttentionTile(threads, threads, rows=16, rows_a_lane=4, unroll=4, key_unroll=4)


# Attention of a decode step, by subgroup width: 64 to 128 tokens a workgroup at once.
# Compilers for AMD hold all queries that a turn of the loop over a key wants: with more a turn they
# spill at heads of 128, and RADV of Mesa 22.3 crashes there with subgroups of 64.
DECODE = {
    8: DecodeTile(8),
    16: DecodeTile(4),
    32: DecodeTile(4, key_unroll=4, value_unroll=4),
    64: DecodeTile(2, key_unroll=4, value_unroll=4),
}
# 242 of 255 registers with heads of 128; an H100 has 132 multiprocessors, each with room for one.
DECODE_CUDA = DecodeTile(8, value_unroll=16, near=2, workgroups=132)
# So many workgroups, of all sequences, fill the chip as well if heads share what they read of keys
# and values: Llama 3 8B's shapes from eight sequences on, Qwen 2.5 0.5B's from sixteen.
DECODE_CUDA_MANY = (64, DecodeTile(4, value_unroll=16))


def decode_tile(profile: GpuProfile) -> DecodeTile:
    """Return the tile of attention in a decode step of one sequence."""
    return DECODE_CUDA if profile.kind == "cuda" else DECODE[profile.subgroup]


def decode_plan(profile: GpuProfile, shape: AttentionShape, batch: int) -> DecodePlan:
    """Return how workgroups share the work of attention in a decode step of `batch` sequences."""
    plan = DecodePlan(shape, decode_tile(profile), profile.subgroup)
    least, many = DECODE_CUDA_MANY
    crowded = profile.kind == "cuda" and batch * plan.tasks >= least
    return replace(plan, tile=many) if crowded else plan


# Attention of a prompt on matrix units, by the largest head: from 90 on, chosen on an H200 on the
# shapes of Llama 3 8B, Qwen 2.5 0.5B, Phi and Gemma; before, with 64 KiB of shared memory at most.
MATRIX_ATTENTION_OVERLAPPED = {
    80: MatrixAttentionTile(4, 1, 64, workgroups=4),
    96: MatrixAttentionTile(4, 1, 64, workgroups=3),
    112: MatrixAttentionTile(4, 1, 64, workgroups=2),
    128: MatrixAttentionTile(4, 1, 64, workgroups=3),
    256: MatrixAttentionTile(4, 1, 64, workgroups=2, near=True),
}
MATRIX_ATTENTION = {
    64: MatrixAttentionTile(4, 1, 64, workgroups=4),
    96: MatrixAttentionTile(4, 1, 64, workgroups=3),
    112: MatrixAttentionTile(4, 1, 64, workgroups=2),
    128: MatrixAttentionTile(4, 1, 32, workgroups=3),
    256: MatrixAttentionTile(2, 1, 32, workgroups=4, near=True),
}


def attention_in_halves(profile: GpuProfile, shape: AttentionShape) -> bool:
    """Return whether attention of a prompt multiplies float16, on matrix units."""
    return (profile.matrix and fits_matrix_units(shape)) or fits_cooperative(profile, shape)


def matrix_attention_tile(profile: GpuProfile, head_dim: int) -> MatrixAttentionTile:
    """Return the tile of attention of a prompt over heads of `head_dim` elements."""
    table = MATRIX_ATTENTION_OVERLAPPED if profile.overlap else MATRIX_ATTENTION
    return next(tile for most, tile in table.items() if head_dim <= most)
