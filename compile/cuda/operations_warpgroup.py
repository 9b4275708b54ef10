"""Operations of a workgroup whose warps have different work: copies, products in the background.

Four warps, a warpgroup, multiply together, with results in registers and matrices in shared memory,
and go on while they do (PTX ISA, wgmma). What was copied, or is needed no more, barriers in shared
memory say (PTX ISA, mbarrier). Code for sm_90a alone has all of these; elsewhere products stop the
kernel, and the rest does nothing.

A matrix in shared memory consists of core matrices, 8 rows of 16 bytes that follow one another. The
rows of the left one are its rows; those of the right one its columns in `multiply_near`, and its
rows in `multiply_held`. From a core matrix to the next along the sum it is `leading` bytes, to the
next along the result's rows or columns `stride` bytes. With a swizzle eight of them form one of 8
rows of 128 bytes, and where rows are rows `leading` is to the next 64 columns, `stride` to the next
8 rows.
"""

from __future__ import annotations

from ferrylm.compile.cuda.operation import Operation, assembly, function

WIDTHS = (64, 96, 128, 160, 192)  # columns of results that have instructions here
_RESULT = "f32.f16.f16"
_STOP = assembly("trap;", memory=True)


def _only_here(body: str) -> str:
    return f"\n#ifdef __CUDA_ARCH_FEAT_SM90_ALL\n{body}\n#endif\n"


def _product(columns: int, left: int, operands: str, more: str, flags: str) -> str:
    """Return the statement of one product; `left` operands make the left matrix."""
    sums = columns // 2
    results = ", ".join(f"%{i}" for i in range(sums))
    words = ", ".join(f"%{sums + i}" for i in range(left))
    matrix = f"{{{words}}}" if left > 1 else words
    right, add = f"%{sums + left}", f"%{sums + left + 1}"
    text = (
        f"{{.reg .pred p; setp.ne.b32 p, {add}, 0; wgmma.mma_async.sync.aligned."
        f"m64n{columns}k16.{_RESULT} {{{results}}}, {matrix}, {right}, p, 1, 1, {flags};}}"
    )
    outputs = ", ".join(f'"+f"(sums[{i}])' for i in range(sums))
    return f'asm volatile("{text}" : {outputs} : {operands}, {more});'


def _near(columns: int) -> str:
    statement = _product(columns, 1, '"l"(left)', '"l"(right), "r"(add)', "0, 0")
    return (
        f"template <> __device__ __forceinline__ void ferrylm_multiply_near_of<{columns}>"
        "(float* sums, unsigned long long left, unsigned long long right, int add) "
        f"{{ {statement} }}\n"
    )


def _held(columns: int) -> str:
    words = ", ".join(f'"r"(left[{i}])' for i in range(4))
    statement = _product(columns, 4, words, '"l"(right), "r"(1)', "1")
    return (
        f"template <> __device__ __forceinline__ void ferrylm_multiply_held_of<{columns}>"
        "(float* sums, const unsigned* left, unsigned long long right) "
        f"{{ {statement} }}\n"
    )


def _barrier(name: str, parameters: str, text: str, operands: str) -> str:
    statement = assembly(text, f' : : "r"(ferrylm_shared(barrier)){operands}', memory=True)
    return function("void", name, "void* barrier" + parameters, _only_here(statement))


_PRODUCTS = (
    Operation(
        "matrix_near", "pointer to shared memory, constants leading and stride, bytes, constant "
        "swizzle", "uint64",
        "the description of a matrix in shared memory (PTX ISA, matrix descriptor)",
        function("unsigned long long", "matrix_near",
                 "const void* at, int leading, int stride, int swizzle",
                 "return (ferrylm_shared(at) & 0x3ffff) >> 4 | (unsigned long long)(leading >> 4) "
                 "<< 16 | (unsigned long long)(stride >> 4) << 32 "
                 "| (unsigned long long)swizzle << 62;"),
    ),
    Operation(
        "multiply_near",
        "pointer to columns / 2 float32 of this thread, descriptions of the left and the right "
        "matrix, int32 add, constant columns", "nothing",
        "begin a product of 64 rows over 16 columns, added to what is there if add is not 0",
        "template <int COLUMNS> "
        + function("void", "multiply_near_of", "float* sums, unsigned long long left, "
                   "unsigned long long right, int add", _STOP)
        + _only_here("".join(_near(columns) for columns in WIDTHS))
        + "#define ferrylm_multiply_near(sums, left, right, add, columns) "
        "ferrylm_multiply_near_of<(columns)>(sums, left, right, add)\n",
        effect=True,
    ),
    Operation(
        "multiply_held",
        "pointer to columns / 2 float32 of this thread, pointer to its 4 words of a fragment of "
        "the left matrix, description of the right matrix, constant columns", "nothing",
        "begin to add a product of 64 rows over 16 columns; fragments as mma.m16n8k16's",
        "template <int COLUMNS> "
        + function("void", "multiply_held_of", "float* sums, const unsigned* left, "
                   "unsigned long long right", _STOP)
        + _only_here("".join(_held(columns) for columns in WIDTHS))
        + "#define ferrylm_multiply_held(sums, left, right, columns) "
        "ferrylm_multiply_held_of<(columns)>(sums, left, right)\n",
        effect=True,
    ),
    Operation(
        "products_fence", "", "nothing", "registers are ready for the products that follow",
        function("void", "products_fence", "",
                 _only_here(assembly("wgmma.fence.sync.aligned;", memory=True))),
        effect=True,
    ),
    Operation(
        "products_commit", "", "nothing", "make one group of the products begun so far",
        function("void", "products_commit", "",
                 _only_here(assembly("wgmma.commit_group.sync.aligned;", memory=True))),
        effect=True,
    ),
    Operation(
        "products_wait", "constant n", "nothing",
        "wait until at most the n newest groups are under way",
        "template <int N> "
        + function("void", "products_wait_of", "", _only_here(
            assembly("wgmma.wait_group.sync.aligned %0;", ' : : "n"(N)', memory=True)))
        + "#define ferrylm_products_wait(n) ferrylm_products_wait_of<(n)>()\n",
        effect=True,
    ),
    Operation(
        "numbers_settle", "pointer to float32 of this thread, constant count", "nothing",
        "what makes these numbers comes before it, what reads them after it, as products_wait does",
        "template <int COUNT> "
        + function("void", "numbers_settle_of", "float* numbers",
                   "\n#pragma unroll\nfor (int i = 0; i < COUNT; ++i) "
                   + assembly("", ' : "+f"(numbers[i]) :', memory=True))
        + "#define ferrylm_numbers_settle(numbers, count) "
        "ferrylm_numbers_settle_of<(count)>(numbers)\n",
        effect=True,
    ),
)  # fmt: skip

_ORDER = (
    Operation(
        "registers_claim", "constant n", "nothing", "let this warpgroup have n registers a thread",
        "template <int N> "
        + function("void", "registers_claim_of", "", _only_here(
            assembly("setmaxnreg.inc.sync.aligned.u32 %0;", ' : : "n"(N)', order=True)))
        + "#define ferrylm_registers_claim(n) ferrylm_registers_claim_of<(n)>()\n",
        effect=True,
    ),
    Operation(
        "registers_release", "constant n", "nothing", "leave it n registers a thread",
        "template <int N> "
        + function("void", "registers_release_of", "", _only_here(
            assembly("setmaxnreg.dec.sync.aligned.u32 %0;", ' : : "n"(N)', order=True)))
        + "#define ferrylm_registers_release(n) ferrylm_registers_release_of<(n)>()\n",
        effect=True,
    ),
    Operation(
        "turn_wait", "int32 number, int32 threads", "nothing",
        "wait until so many threads came to a barrier of that number, these among them",
        function("void", "turn_wait", "int number, int threads", _only_here(
            assembly("bar.sync %0, %1;", ' : : "r"(number), "r"(threads)', memory=True))),
        effect=True,
    ),
    Operation(
        "turn_give", "int32 number, int32 threads", "nothing", "come there without a wait",
        function("void", "turn_give", "int number, int threads", _only_here(
            assembly("bar.arrive %0, %1;", ' : : "r"(number), "r"(threads)', memory=True))),
        effect=True,
    ),
    Operation(
        "signal_begin", "pointer to 64 bits in shared memory, int32 count", "nothing",
        "make a signal that `count` threads give; signal_publish comes after the last",
        _barrier("signal_begin", ", int count", "mbarrier.init.shared::cta.b64 [%0], %1;",
                 ', "r"(count)'),
        effect=True,
    ),
    Operation(
        "signal_publish", "", "nothing",
        "what this thread wrote to shared memory is to be seen by copies and products",
        function("void", "signal_publish", "", _only_here(
            assembly("fence.proxy.async.shared::cta;", memory=True))),
        effect=True,
    ),
    Operation(
        "signal_give_copied", "signal", "nothing",
        "give it for this thread once its copies are done that began one by one",
        _barrier("signal_give_copied", "",
                 "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];", ""),
        effect=True,
    ),
    Operation(
        "signal_give_if", "signal, bool wanted", "nothing", "give it for this thread, if wanted",
        # A predicate, as products in the background want no branches.
        _barrier("signal_give_if", ", bool wanted",
                 "{.reg .pred p; setp.ne.b32 p, %1, 0; "
                 "@p mbarrier.arrive.shared::cta.b64 _, [%0];}", ', "r"((int)wanted)'),
        effect=True,
    ),
    Operation(
        "signal_never", "signal, float32 number, not negative or no number", "nothing",
        "nothing; but what makes the number comes before it, and products_wait after it",
        # It would give the signal for a negative number: so no compiler moves it.
        _barrier("signal_never", ", float number",
                 "{.reg .pred p; setp.lt.f32 p, %1, %2; "
                 "@p mbarrier.arrive.shared::cta.b64 _, [%0];}", ', "f"(number), "f"(0.0f)'),
        effect=True,
    ),
    Operation(
        "signal_wait", "signal, int32 parity", "nothing",
        "wait until it was given by all in the turn of that parity",
        _barrier("signal_wait", ", int parity",
                 "{.reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, "
                 "[%0], %1; @!done bra again;}", ', "r"(parity)'),
        effect=True,
    ),
)  # fmt: skip

WARPGROUP = (*_PRODUCTS, *_ORDER)
