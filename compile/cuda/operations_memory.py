"""Operations on memory: streams, copies behind the back, and the order of kernels."""

from __future__ import annotations

from ferrylm.compile.cuda.operation import Operation, assembly, function

_LOAD = ' : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"((const uint4*)from + index)'
MEMORY = (
    Operation(
        "load_stream_u32x4", "pointer aligned to 16, index in units of 16 bytes", "uint32x4",
        "16 bytes that this kernel never writes, read once: kept out of the L1 cache",
        function("uint4", "load_stream_u32x4", "const void* from, long long index",
                 "uint4 v;\n#if __CUDA_ARCH__ >= 800\n"
                 + assembly("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 "
                            "{%0, %1, %2, %3}, [%4];", _LOAD, order=True)
                 + "\n#else\n"
                 + assembly("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];",
                            _LOAD, order=True)
                 + "\n#endif\nreturn v;"),
    ),
    Operation(
        "load_evict_first_u32x4", "pointer aligned to 16, index in units of 16 bytes",
        "uint32x4", "the same, and the first to leave the L2 cache",
        function("uint4", "load_evict_first_u32x4", "const void* from, long long index",
                  "uint4 v; "
                  + assembly("ld.global.cs.nc.v4.u32 {%0, %1, %2, %3}, [%4];", _LOAD, order=True)
                  + " return v;"),
    ),
    Operation(
        "prefetch_l2", "pointer", "nothing", "bring the cache line of an address into L2",
        function("void", "prefetch_l2", "const void* at",
                  assembly("prefetch.global.L2 [%0];", ' : : "l"(at)', memory=True)),
        effect=True,
    ),
    Operation(
        "copy_async_u32x4", "pointer to shared, pointer to global memory", "nothing",
        "begin to copy 16 bytes; before 80 the copy is done at once",
        "#if __CUDA_ARCH__ >= 800\n"
        + function("void", "copy_async_u32x4", "void* to, const void* from",
                    assembly("cp.async.cg.shared.global [%0], [%1], 16;",
                         ' : : "r"(ferrylm_shared(to)), "l"(from)', memory=True))
        + "#else\n"
        + function("void", "copy_async_u32x4", "void* to, const void* from",
                    "*(uint4*)to = *(const uint4*)from;")
        + "#endif\n",
        effect=True,
    ),
    Operation(
        "copy_async_commit", "", "nothing", "make one group of the copies begun so far",
        function("void", "copy_async_commit", "",
                  "\n#if __CUDA_ARCH__ >= 800\n"
                  + assembly("cp.async.commit_group;", memory=True) + "\n#endif\n"),
        effect=True,
    ),
    Operation(
        "copy_async_wait", "constant n", "nothing",
        "wait until at most the n newest groups are under way",
        "template <int N> "
        + function("void", "copy_async_wait_of", "",
                    "\n#if __CUDA_ARCH__ >= 800\n"
                    + assembly("cp.async.wait_group %0;", ' : : "n"(N)', memory=True)
                    + "\n#endif\n")
        + "#define ferrylm_copy_async_wait(n) ferrylm_copy_async_wait_of<(n)>()\n",
        effect=True,
    ),
    Operation(
        "grid_dependency_wait", "", "nothing",
        "wait for the memory of the kernels before; nothing before 90",
        function("void", "grid_dependency_wait", "",
                  "\n#if __CUDA_ARCH__ >= 900\n"
                  + assembly("griddepcontrol.wait;", memory=True) + "\n#endif\n"),
        effect=True,
    ),
    Operation(
        "launch_dependents", "", "nothing",
        "let the next kernel start once all workgroups said so; nothing before 90",
        function("void", "launch_dependents", "",
                  "\n#if __CUDA_ARCH__ >= 900\n"
                  + assembly("griddepcontrol.launch_dependents;", memory=True) + "\n#endif\n"),
        effect=True,
    ),
)  # fmt: skip
