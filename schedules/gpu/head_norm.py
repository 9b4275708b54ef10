# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""Sums of squares of query and key heads, for an RMSNorm of each before RoPE, on GPUs.

computes  factors[h] = 1 / sqrt(mean(x_h^2) + eps)
mapping   subgroup  a head after another;  lane  every W-th element
"""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.gpu.operations import subgroup_add


@T.inline
def head_factor(factors, qkv, m, first, place, lane, subgroup, head_dim, eps):  # noqa: D103
    # The head of row m that begins at column `first`; all lanes of a subgroup come here or none.
    total = T.alloc_buffer((1,), "float32", scope="local")
    total[0] = T.float32(0)
    for i in T.unroll(-(-head_dim // subgroup)):
        if i * subgroup + lane < head_dim:
            total[0] = (
                total[0] + qkv[m, first + i * subgroup + lane] * qkv[m, first + i * subgroup + lane]
            )
    total[0] = subgroup_add(total[0])
    if lane == 0:
        factors[place] = T.float32(1) / T.sqrt(total[0] * T.float32(1 / head_dim) + T.float32(eps))


@T.inline
def row_factors(factors, qkv, m, thread, threads, subgroup, heads, head_dim, eps):  # noqa: D103
    # Of the first `heads` heads of a row.
    subgroups = T.meta_var(threads // subgroup)
    for i in T.serial((heads + subgroups - 1) // subgroups):
        head = T.meta_var(i * subgroups + thread // subgroup)
        if head < heads:
            head_factor(
                factors, qkv, m, head * head_dim, head, thread % subgroup, subgroup, head_dim, eps
            )
    T.tvm_storage_sync("shared")
