"""Operations between the workgroups of one kernel: who is the last to be done, and what it reads.

All threads of a workgroup write, call device_release and meet at a barrier; one of them calls
device_count; they meet again, call device_acquire, and may then read what all workgroups wrote that
counted before theirs.

On CUDA the fences stand in device_count alone, as in cooperative groups' barrier of a grid: order
goes through the workgroup's barriers too (PTX ISA, "Memory consistency model", causality order).
"""

from __future__ import annotations

from ferrylm.compile.cuda.operation import Operation, function

DEVICE = (
    Operation(
        "device_release", "", "nothing", "what this thread wrote is to be seen by all the device",
        function("void", "device_release", "", ""),
        shared=True, effect=True,
    ),
    Operation(
        "device_acquire", "", "nothing", "this thread reads what others had released",
        function("void", "device_acquire", "", ""),
        shared=True, effect=True,
    ),
    Operation(
        "device_count", "pointer to a global int32, int32 value", "int32",
        "add, and return what was there before; releases and acquires for the workgroup",
        function("int", "device_count", "int* counter, int value",
                 "__threadfence(); int before = atomicAdd(counter, value); __threadfence(); "
                 "return before;"),
        shared=True, effect=True,
    ),
)  # fmt: skip
