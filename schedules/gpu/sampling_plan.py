"""The sizes of the kernels that draw tokens, and their view of logits: keys.

A key is an int32 that orders as the logit does, of both zeros the same; NO_TOKEN orders below all.
A row's V keys are cut into slices of SLICE. The rank of a token is P - id: the greater, the lower
the id, as ties are decided. `best` of a slice is (greatest key, its greatest rank, number of
logits that are not finite, the greatest rank of those).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.profile import GpuProfile

SLICE = 256
BUCKETS = 256  # of a histogram; also the threads that add it up
NO_TOKEN = -(2**31)
LARGEST = 3.4028234663852886e38  # float32
_SLICES_AT_ONCE = 4  # of a workgroup that adjusts logits
_UNROLLED = 8
_MOST_THREADS = {8: 256, 16: 512, 64: 512}


@dataclass(frozen=True)
class DrawPlan:
    """How tokens are drawn out of `vocabulary` logits by subgroups of this width."""

    vocabulary: int
    subgroup: int

    @property
    def slices(self) -> int:
        """Return the number of slices of a row."""
        return -(-self.vocabulary // SLICE)

    @property
    def padded(self) -> int:
        """Return P, the keys of a row."""
        return self.slices * SLICE

    @property
    def steps(self) -> int:
        """Return the keys that a lane has of each slice."""
        return SLICE // self.subgroup

    @property
    def adjusting_threads(self) -> int:
        """Return the threads of a workgroup that has some slices of a row."""
        return min(_SLICES_AT_ONCE, self.slices) * self.subgroup

    @property
    def threads(self) -> int:
        """Return the threads of the workgroup that draws a row's token."""
        return _MOST_THREADS.get(self.subgroup, 1024)

    @property
    def subgroups(self) -> int:
        """Return the subgroups of that workgroup."""
        return self.threads // self.subgroup

    def lane_steps(self) -> Any:
        """Return the loop over a lane's keys of a slice; long ones take drivers long to unroll."""
        return T.unroll(self.steps) if self.steps <= _UNROLLED else T.serial(self.steps)

    @property
    def slices_a_thread(self) -> int:
        """Return the consecutive slices that one of BUCKETS threads adds up."""
        return -(-self.slices // BUCKETS)


def draw_plan(profile: GpuProfile, vocabulary: int) -> DrawPlan:
    """Return the plan for a device."""
    return DrawPlan(vocabulary, profile.subgroup)


def key_of(value: Any) -> Any:
    """Return the key of a float32."""
    bits = T.reinterpret(value, dtype="int32")
    ordered = T.bitwise_xor(bits, T.bitwise_and(T.shift_right(bits, 31), T.int32(0x7FFFFFFF)))
    return T.Select(value == T.float32(0), T.int32(0), ordered)


def value_of(key: Any) -> Any:
    """Return the float32 of a key."""
    bits = T.bitwise_xor(key, T.bitwise_and(T.shift_right(key, 31), T.int32(0x7FFFFFFF)))
    return T.reinterpret(bits, dtype="float32")


def clamped(value: Any) -> Any:
    """Return a float32 within the finite ones.

    Between a product and a sum it also keeps compilers from rounding both at once.
    """
    return T.max(T.min(value, T.float32(LARGEST)), T.float32(-LARGEST))


def setting(settings: Any, slot: Any, column: int) -> Any:
    """Return a float32 setting of a slot."""
    return T.reinterpret(settings[slot, column], dtype="float32")


def weight_of(key: Any, best: Any, temperature: Any) -> Any:
    """Return e^((logit - best logit) / temperature)."""
    gap = (value_of(key) - value_of(best)) / T.max(temperature, T.float32(1e-30))
    return T.exp(T.max(gap, T.float32(-1000)))
