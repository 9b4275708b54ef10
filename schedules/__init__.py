"""TensorIR kernels: algorithm, schedule, tiles."""

from ferrylm.schedules import script_macros as script_macros
