"""The operations that TensorIR calls by name, `ferrylm.NAME`, as one table.

It says what an operation means, what it takes, and what it becomes on CUDA. A word is a uint32; a
word of halves holds two float16, the first in its low bits.
"""

from __future__ import annotations

from ferrylm.compile.cuda.operations_arithmetic import ARITHMETIC, HALF2
from ferrylm.compile.cuda.operations_device import DEVICE
from ferrylm.compile.cuda.operations_matrix import MATRIX
from ferrylm.compile.cuda.operations_memory import MEMORY
from ferrylm.compile.cuda.operations_subgroup import SUBGROUP
from ferrylm.compile.cuda.operations_tiles import TILES
from ferrylm.compile.cuda.operations_warpgroup import WARPGROUP

PREFIX = "ferrylm."

OPERATIONS = {
    operation.name: operation
    for operation in (*SUBGROUP, *ARITHMETIC, *HALF2, *MEMORY, *MATRIX, *TILES, *WARPGROUP, *DEVICE)
}
