# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""Queries, key and value of a decode step's token, rotated within a workgroup, on GPUs.

computes  rope.py for the workgroup's query heads and the key of its KV head
leaves    queries float32 (heads, padded D) and fresh float32 (2, padded D): key and value, rounded
          as pages hold them, all in shared memory; perhaps key and value in their page as well
mapping   lane  a pair of elements of a head; for the norms of heads a subgroup a head
"""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.gpu.head_norm import head_factor
from ferrylm.schedules.gpu.layout import KEY_VECTOR
from ferrylm.schedules.gpu.rope import append, rotate


@T.inline
def load_angles(angles, cos, sin, gains, thread, position, plan):  # noqa: D103
    # Cosine and sine of each pair; behind them all, if heads are normalized, the gains of each.
    half = T.meta_var(plan.head_dim // 2)
    count = T.meta_var(plan.pairs)
    for i in T.unroll(count):
        d = T.meta_var((i * plan.threads + thread) % half)
        at = T.meta_var(plan.shape.first_angle + d)
        angles[2 * i] = cos[T.max(position, 0), at]
        angles[2 * i + 1] = sin[T.max(position, 0), at]
        if plan.shape.norms_heads:
            row = T.meta_var((i * plan.threads + thread) // half)
            gain = T.meta_var(T.Select(row < plan.heads, 0, plan.head_dim) + d)
            angles[2 * count + 2 * i] = gains[gain]
            angles[2 * count + 2 * i + 1] = gains[gain + half]


@T.inline
def find_factors(factors, qkv, m, task, thread, plan):  # noqa: D103
    # Of the workgroup's query heads and of its key.
    shape = T.meta_var(plan.shape)
    for i in T.unroll(-(-(plan.heads + 1) // plan.subgroups)):
        row = T.meta_var(i * plan.subgroups + thread // plan.subgroup)
        own = T.meta_var(plan.first_head(task) + T.min(row, plan.heads_of(task) - 1))
        key = T.meta_var(shape.num_heads + plan.kv_head(task))
        if row <= plan.heads:
            head_factor(
                factors, qkv, m, T.Select(row < plan.heads, own, key) * plan.head_dim, row,
                thread % plan.subgroup, plan.subgroup, plan.head_dim, shape.head_norm_eps,
            )  # fmt: skip
    T.tvm_storage_sync("shared")


@T.inline
def turn_heads(  # noqa: D103
    queries, fresh, angles, factors, qkv, keys, values, tables, m, task, appends, thread, position,
    page_size, plan,
):  # fmt: skip
    turned = T.alloc_buffer((2,), "float32", scope="local")
    where = T.alloc_buffer((2,), "int32", scope="local")
    half = T.meta_var(plan.head_dim // 2)
    shape = T.meta_var(plan.shape)
    where[0] = T.max(position, 0)
    where[1] = tables[m, T.truncdiv(where[0], page_size)]
    # Rows 0 .. heads - 1 are queries, then come the key and the value.
    count = T.meta_var(plan.pairs)
    for i in T.unroll(count):
        d = T.meta_var((i * plan.threads + thread) % half)
        row = T.meta_var((i * plan.threads + thread) // half)
        own = T.meta_var(plan.first_head(task) + T.min(row, plan.heads_of(task) - 1))
        beside = T.meta_var(
            shape.num_heads + (row - plan.heads) * shape.num_kv_heads + plan.kv_head(task)
        )
        if row < plan.heads + 2:
            head = T.meta_var(T.Select(row < plan.heads, own, beside))
            turned[0] = qkv[m, head * plan.head_dim + d]
            turned[1] = qkv[m, head * plan.head_dim + half + d]
            if row <= plan.heads:
                if shape.norms_heads:
                    for j in T.unroll(2):
                        turned[j] = turned[j] * factors[row] * angles[2 * count + 2 * i + j]
                rotate(turned, angles[2 * i], angles[2 * i + 1])
            if row < plan.heads:
                queries[row, d] = turned[0] * T.float32(shape.score_scale)
                queries[row, half + d] = turned[1] * T.float32(shape.score_scale)
            else:
                for j in T.unroll(2):
                    fresh[row - plan.heads, j * half + d] = T.cast(
                        T.cast(turned[j], plan.kv_dtype), "float32"
                    )
                if appends:
                    append(
                        turned, keys, values, where,
                        (row - plan.heads) * shape.num_kv_heads + plan.kv_head(task), d, half,
                        shape.num_kv_heads, page_size, plan.kv_dtype,
                    )  # fmt: skip
    width = T.meta_var(plan.vectors * KEY_VECTOR)
    if plan.head_dim < width:
        # Zeros fill a head up to whole vectors, as they do in pages.
        for i in T.serial((plan.heads + plan.threads) // plan.threads):
            if i * plan.threads + thread <= plan.heads:
                for j in T.unroll(width - plan.head_dim):
                    if i * plan.threads + thread < plan.heads:
                        queries[i * plan.threads + thread, plan.head_dim + j] = T.float32(0)
                    else:
                        fresh[0, plan.head_dim + j] = T.float32(0)
                        fresh[1, plan.head_dim + j] = T.float32(0)


@T.inline
def rotate_heads(  # noqa: D103
    queries, fresh, angles, qkv, keys, values, tables, m, task, appends, thread, position,
    page_size, plan,
):  # fmt: skip
    if plan.shape.norms_heads:
        factors = T.alloc_buffer((plan.heads + 1,), "float32", scope="shared")
        find_factors(factors, qkv, m, task, thread, plan)
        turn_heads(
            queries, fresh, angles, factors, qkv, keys, values, tables, m, task, appends, thread,
            position, page_size, plan,
        )  # fmt: skip
    else:
        turn_heads(
            queries, fresh, angles, angles, qkv, keys, values, tables, m, task, appends, thread,
            position, page_size, plan,
        )  # fmt: skip
