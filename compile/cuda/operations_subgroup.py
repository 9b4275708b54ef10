"""Operations over the lanes of a subgroup: a warp, 32 threads."""

from __future__ import annotations

from ferrylm.compile.cuda.operation import Operation, function, template

SUBGROUP = (
    Operation(
        "subgroup_add", "x", "type of x", "sum of x over the 32 lanes, in every lane",
        template("T", "subgroup_add", "T x",
                  "return ferrylm_clustered(x, 32, FerryAdd());")
        + "#if __CUDA_ARCH__ >= 800\n"
        + function("int", "subgroup_add", "int x", "return __reduce_add_sync(~0u, x);")
        + function("unsigned", "subgroup_add", "unsigned x",
                    "return __reduce_add_sync(~0u, x);")
        + "#endif\n",
        shared=True,
    ),
    Operation(
        "subgroup_max", "x", "type of x", "largest x of the 32 lanes, in every lane",
        template("T", "subgroup_max", "T x",
                  "return ferrylm_clustered(x, 32, FerryMax());")
        + "#if __CUDA_ARCH__ >= 800\n"
        + function("int", "subgroup_max", "int x", "return __reduce_max_sync(~0u, x);")
        + function("unsigned", "subgroup_max", "unsigned x",
                    "return __reduce_max_sync(~0u, x);")
        + "#endif\n",
        shared=True,
    ),
    Operation(
        "subgroup_add_clustered", "x, constant width", "type of x",
        "sum of x over the `width` (power of 2) adjacent lanes of this lane's cluster",
        template("T", "subgroup_add_clustered", "T x, int width",
                  "return ferrylm_clustered(x, width, FerryAdd());"),
        shared=True,
    ),
    Operation(
        "subgroup_max_clustered", "x, constant width", "type of x",
        "largest x of the `width` adjacent lanes of this lane's cluster",
        template("T", "subgroup_max_clustered", "T x, int width",
                  "return ferrylm_clustered(x, width, FerryMax());"),
        shared=True,
    ),
    Operation(
        "subgroup_shuffle_xor", "x, int32 mask", "type of x", "x of the lane `lane ^ mask`",
        template("T", "subgroup_shuffle_xor", "T x, int mask",
                  "return ferrylm_exchange(x, FerryXor{mask});"),
        shared=True,
    ),
    Operation(
        "subgroup_shuffle", "x, int32 lane", "type of x", "x of any lane",
        template("T", "subgroup_shuffle", "T x, int lane",
                  "return ferrylm_exchange(x, FerryFrom{lane});"),
        shared=True,
    ),
    Operation(
        "subgroup_broadcast", "x, constant lane", "type of x", "x of one lane",
        template("T", "subgroup_broadcast", "T x, int lane",
                  "return ferrylm_exchange(x, FerryFrom{lane});"),
        shared=True,
    ),
    Operation(
        "subgroup_lane", "", "int32", "this thread's lane, 0 to 31",
        function("int", "subgroup_lane", "", "return (int)(ferrylm_thread() & 31u);"),
        shared=True,
    ),
    Operation(
        "subgroup_id", "", "int32", "the subgroup's number in its workgroup",
        function("int", "subgroup_id", "", "return (int)(ferrylm_thread() >> 5);"),
        shared=True,
    ),
    Operation(
        "subgroup_barrier", "", "nothing", "wait for the other lanes, shared memory included",
        function("void", "subgroup_barrier", "", "__syncwarp();"),
        shared=True, effect=True,
    ),
)  # fmt: skip
