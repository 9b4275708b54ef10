"""What a product computes, and which part of it a workgroup and a subgroup work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import GROUP, ActivationLayout, WeightFormat, groups, padded

PAIRED = ("swiglu", "geglu")
EPILOGUES = ("plain", "residual", "bias", "capped", *PAIRED)


@dataclass(frozen=True)
class Product:
    """A weight matrix times a few rows of activations, and what becomes of the result.

    `eps`: the activations were quantized before their norm, which is applied to the result.
    `parts`: the result is quantized, to codes of that many parts; 0 leaves float32.
    `gained`: what is quantized is the result times a gain, and the result is kept as well.
    `rounds`: activations come as float32 rows and a gain, and are quantized here.
    `cap`: of the epilogue capped, cap * tanh(y / cap).
    """

    rows: Rows
    fmt: WeightFormat
    epilogue: str
    eps: float | None = None
    parts: int = 0
    gained: bool = False
    rounds: bool = False
    cap: float = 0.0

    def __post_init__(self) -> None:
        if self.epilogue not in EPILOGUES:
            raise ValueError(f"unknown epilogue {self.epilogue!r}")

    @property
    def inputs(self) -> ActivationLayout:
        """Return how quantized activations lie."""
        return ActivationLayout(self.fmt.columns, self.fmt.parts)

    @property
    def results(self) -> ActivationLayout:
        """Return how the quantized result lies."""
        return ActivationLayout(self.outputs, max(self.parts, 1))

    @property
    def pairs(self) -> bool:
        """Whether an output takes two rows of the matrix."""
        return self.epilogue in PAIRED

    @property
    def outputs(self) -> int:
        """Return the number of outputs of a row of activations."""
        return self.fmt.rows // 2 if self.pairs else self.fmt.rows

    @property
    def adds(self) -> bool:
        """Whether something is added to the result: a residual, or a bias to all rows alike."""
        return self.epilogue in ("residual", "bias")

    def added_shape(self, m: Any) -> tuple[Any, ...]:
        """Return the shape of what is added to m rows."""
        return (self.outputs,) if self.epilogue == "bias" else (m, padded(self.outputs))

    def added_at(self, m: Any, n: Any) -> tuple[Any, ...]:
        """Return where that of row m and output n lies; of what pads a row, anywhere."""
        if self.epilogue != "bias":
            return (m, n)
        whole = padded(self.outputs) == self.outputs
        return (n if whole else T.min(n, self.outputs - 1),)

    @property
    def kept(self) -> bool:
        """Whether the result is stored as float32."""
        return self.parts == 0 or self.gained

    def unused(self) -> list[str]:
        """Return the parameters of the kernel that this product has no use for."""
        found = []
        if self.fmt.grouped and not self.fmt.minimum:
            found.append("minimum")
        if not self.adds:
            found.append("residual")
        if not self.gained:
            found.append("gain")
        if not self.kept:
            found.append("y")
        if not self.parts:
            found += ["y_codes", "y_terms"]
        return found


@dataclass(frozen=True)
class MatvecTile:
    """How much of a product one workgroup and one subgroup work on.

    `split` subgroups share their rows and divide the columns; `unroll` steps of a lane load their
    weights before the first of them multiplies, and with `ahead` the next ones' before that.
    `lanes` adjacent lanes of a wider subgroup stand for a subgroup each; 0: all of its lanes do.
    """

    subgroups: int
    rows: int
    split: int = 1
    unroll: int = 1
    ahead: bool = False
    lanes: int = 0

    def __post_init__(self) -> None:
        if self.rows % 2:
            raise ValueError(f"{self.rows} rows a subgroup: gate and up come in pairs")
        if self.subgroups % self.split:
            raise ValueError(f"{self.subgroups} subgroups do not split {self.split} ways")


@dataclass(frozen=True)
class MatvecGrid:
    """A tile applied to a product, on a device with subgroups of so many lanes.

    With `overlap` the kernel starts before the one before it has ended (overlap.py).
    """

    product: Product
    tile: MatvecTile
    subgroup: int
    overlap: bool = False

    def __post_init__(self) -> None:
        if self.product.parts and self.workgroup_outputs % GROUP:
            raise ValueError(f"{self.workgroup_outputs} outputs a workgroup are no whole groups")

    @property
    def width(self) -> int:
        """Return how many adjacent lanes work on the same rows."""
        return self.tile.lanes or self.subgroup

    @property
    def columns(self) -> int:
        """Return the rows of activations that a workgroup works on."""
        return self.product.rows.tile

    @property
    def rows(self) -> int:
        """Return how many outputs a subgroup makes."""
        return self.tile.rows // 2 if self.product.pairs else self.tile.rows

    @property
    def normed(self) -> bool:
        """Whether lanes sum squares of activations, too."""
        return self.product.eps is not None

    @property
    def input_chunks(self) -> int:
        """Return how many lanes' columns a row of activations has where they are quantized here."""
        return groups(self.product.fmt.columns) * (GROUP // 4)

    @property
    def rounding_turns(self) -> int:
        """Return how many of those a lane quantizes."""
        return -(-self.input_chunks * self.columns // self.threads)

    @property
    def x_held(self) -> int:
        """Return how many columns that is."""
        return self.rounding_turns * 4

    @property
    def own_codes(self) -> tuple[int, ...]:
        """Return the shape of the codes that a workgroup quantizes itself."""
        return self.product.inputs.codes_shape(self.columns)

    @property
    def own_terms(self) -> tuple[int, ...]:
        """Return the shape of their terms."""
        return self.product.inputs.terms_shape(self.columns)

    @property
    def sums(self) -> int:
        """Return how many sums a lane keeps, the last of them sums of squares."""
        return (self.tile.rows + int(self.normed)) * self.columns

    @property
    def lanes(self) -> int:
        """Return how many lanes divide the columns of a row."""
        return self.width * self.tile.split

    @property
    def writers(self) -> int:
        """Return how many of those take turns to store results."""
        return min(8, self.lanes)

    @property
    def threads(self) -> int:
        """Return the threads of a workgroup."""
        return self.width * self.tile.subgroups

    @property
    def workgroup_outputs(self) -> int:
        """Return how many outputs a workgroup makes."""
        return self.rows * self.tile.subgroups // self.tile.split

    @property
    def workgroups(self) -> int:
        """Return the number of workgroups that cover the padded outputs."""
        return -(-padded(self.product.outputs) // self.workgroup_outputs)

    @property
    def slots(self) -> int:
        """Return how many groups of weights a lane holds at once."""
        return self.tile.rows * self.tile.unroll

    @property
    def steps(self) -> int:
        """Return how many times a lane loads and multiplies."""
        return -(-groups(self.product.fmt.columns) // (self.lanes * self.tile.unroll))

    @property
    def begun(self) -> bool:
        """Whether weights of the first step are loaded before the activations are there.

        A kernel that has to wait for these has nothing else to do.
        """
        return self.tile.ahead or self.overlap

    @property
    def early(self) -> bool:
        """Whether what the end of the product reads is loaded at its beginning: matvec_early.py.

        A lane then holds the gain of one chunk of its workgroup's outputs.
        """
        chunks = self.workgroup_outputs // 4 if self.product.gained else 0
        return self.overlap and chunks * self.columns <= self.threads

    @property
    def whole(self) -> bool:
        """Whether every lane has a group in every step."""
        return groups(self.product.fmt.columns) % (self.lanes * self.tile.unroll) == 0

    def group(self, thread: Any, step: Any, u: int) -> Any:
        """Return the group of a lane in part u of a step; beyond the end, the last."""
        found = (step * self.tile.unroll + u) * self.lanes + self.lane(thread)
        return found if self.whole else T.min(found, groups(self.product.fmt.columns) - 1)

    def valid(self, thread: Any, step: Any, u: int) -> Any:
        """Return whether a lane has a group of its own in part u of a step."""
        found = (step * self.tile.unroll + u) * self.lanes + self.lane(thread)
        return True if self.whole else found < groups(self.product.fmt.columns)

    @property
    def shared_sums(self) -> tuple[int, int]:
        """Return the shape of the sums that subgroups of a row exchange."""
        return (self.tile.subgroups, self.sums) if self.tile.split > 1 else (1, 1)

    @property
    def shared_results(self) -> tuple[int, int]:
        """Return the shape of the results that lanes exchange to quantize them."""
        return (self.columns, self.workgroup_outputs) if self.product.parts else (1, 1)

    def lane(self, thread: Any) -> Any:
        """Return a thread's place among the lanes that divide a row's columns."""
        return thread % self.lanes

    def writes(self, thread: Any, r: Any, m: Any) -> Any:
        """Return whether a lane stores output r of row m: different lanes store different ones."""
        return self.lane(thread) == (r * self.columns + m) % self.writers

    def held_at(self, r: Any, m: Any) -> Any:
        """Return which of those that a lane stores this one is."""
        return (r * self.columns + m) // self.writers

    @property
    def held(self) -> int:
        """Return how many results a lane stores at most."""
        return -(-self.rows * self.columns // self.writers)

    def place(self, thread: Any, r: Any) -> Any:
        """Return which of the workgroup's outputs is output r of a thread's subgroup."""
        return thread // self.lanes * self.rows + r

    def output(self, workgroup: Any, thread: Any, r: Any) -> Any:
        """Return the index of output r of a thread's subgroup."""
        return workgroup * self.workgroup_outputs + self.place(thread, r)

    def matrix_row(self, workgroup: Any, thread: Any, r: Any) -> Any:
        """Return the row of the matrix that row r of a subgroup is; beyond the end, the last."""
        output = self.output(workgroup, thread, r % self.rows)
        return T.min(output, self.product.outputs - 1) + r // self.rows * self.product.outputs
