"""The kernel cases: one table for the tests and for scripts/time_kernels.py.

Shapes of the tested part are small and ugly: columns that are no multiple of 32, rows that are no
multiple of 16. Shapes of the timed part are those of SmolLM2 135M and Llama 3 8B.
"""

from __future__ import annotations

from dataclasses import dataclass

from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.layout import WeightFormat, padded

BATCHES = (1, 2, 4, 8)
EPILOGUES = ("plain", "residual", "swiglu")
CAP = 2.0  # of the epilogue capped

# storage, with a minimum, arithmetic
FORMATS = (
    ("q4", False, "int8"),
    ("q4", True, "int8"),
    ("q8", False, "int8"),
    ("q4", False, "int16"),
    ("q4", True, "int16"),
    ("q8", False, "int16"),
    ("q4", False, "f32"),
    ("q4", True, "f32"),
    ("q8", False, "f32"),
    ("f16", False, "f32"),
    ("f32", False, "f32"),
)


@dataclass(frozen=True)
class MatmulCase:
    """A matrix of `rows` x `columns` as the model has it; swiglu counts gate and up together."""

    rows: int
    columns: int
    storage: str = "q4"
    minimum: bool = False
    arithmetic: str = "int8"
    epilogue: str = "plain"

    @property
    def format(self) -> WeightFormat:
        """Return the format the kernel is made for."""
        pairs = self.epilogue in ("swiglu", "geglu")
        rows = 2 * padded(self.rows // 2) if pairs else self.rows
        return WeightFormat(rows, self.columns, self.storage, self.minimum, self.arithmetic, pairs)

    def __str__(self) -> str:
        tag = f"{self.storage}{'-minimum' if self.minimum else ''}-{self.arithmetic}"
        return f"{tag}-{self.epilogue}-{self.rows}x{self.columns}"


@dataclass(frozen=True)
class AttentionCase:
    """Attention of the last rows of a sequence of `tokens` tokens."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    tokens: int
    page_size: int = 32
    kv_dtype: str = "float16"
    head_norm_eps: float | None = None

    @property
    def shape(self) -> AttentionShape:
        """Return what the kernels are made for."""
        return AttentionShape(
            self.num_heads, self.num_kv_heads, self.head_dim, self.kv_dtype,
            head_norm_eps=self.head_norm_eps,
        )  # fmt: skip

    def __str__(self) -> str:
        normed = "" if self.head_norm_eps is None else "-normed"
        heads = f"{self.num_heads}/{self.num_kv_heads}x{self.head_dim}{normed}"
        return f"attention-{heads}-{self.kv_dtype}-{self.tokens}tokens-page{self.page_size}"


_UGLY = {"plain": (1001, 100), "residual": (72, 720), "swiglu": (400, 100)}

MATMULS = (
    *(
        MatmulCase(*_UGLY[epilogue], storage, minimum, arithmetic, epilogue)
        for storage, minimum, arithmetic in FORMATS
        for epilogue in EPILOGUES
    ),
    MatmulCase(64, 64, "q4", True, "int16"),  # nothing ugly about it
    MatmulCase(72, 100, "q4", False, "int8", "bias"),
    MatmulCase(72, 100, "q4", True, "int16", "bias"),
    MatmulCase(64, 96, "q8", False, "f32", "bias"),
    MatmulCase(72, 100, "f16", False, "f32", "bias"),
    MatmulCase(400, 100, "q4", True, "int16", "geglu"),
    MatmulCase(400, 100, "q8", False, "f32", "geglu"),
    MatmulCase(72, 100, "q4", False, "int16", "capped"),
    MatmulCase(72, 100, "f32", False, "f32", "capped"),
    MatmulCase(128, 2048, "q8", False, "int16"),  # sums of many groups
)

LENGTHS = (1, 31, 32, 33, 64, 65, 127, 128, 129, 1000)

# Every group size, head size, page size and kind of keys, in few kernels; each runs at LENGTHS.
ATTENTIONS = (
    AttentionCase(3, 3, 18, max(LENGTHS), 32, "float32"),
    AttentionCase(9, 3, 64, max(LENGTHS), 32, "float16"),
    AttentionCase(8, 2, 80, max(LENGTHS), 64, "float16"),
    AttentionCase(4, 1, 96, max(LENGTHS), 32, "float32"),
    AttentionCase(8, 1, 128, max(LENGTHS), 64, "float16"),
)

WIDTHS = (16, 100, 576)  # of norms and quantized rows
EPSILON = 1e-5

_MODELS = {
    "smollm2-135m": (576, 1536, 9, 3, 64, 49152),
    "llama3-8b": (4096, 14336, 32, 8, 128, 128256),
}


def timed_matmuls(model: str, storage: str, minimum: bool, arithmetic: str) -> list[MatmulCase]:
    """Return the matrices of a model, the head last."""
    hidden, inner, heads, kv_heads, head_dim, vocabulary = _MODELS[model]
    shapes = (
        ((heads + 2 * kv_heads) * head_dim, hidden, "plain"),
        (hidden, heads * head_dim, "residual"),
        (2 * inner, hidden, "swiglu"),
        (hidden, inner, "residual"),
        (vocabulary, hidden, "plain"),
    )
    return [
        MatmulCase(rows, columns, storage, minimum, arithmetic, epilogue)
        for rows, columns, epilogue in shapes
    ]


def timed_attentions(model: str, tokens: int, kv_dtype: str) -> list[AttentionCase]:
    """Return the attention of a model."""
    _, _, heads, kv_heads, head_dim, _ = _MODELS[model]
    return [AttentionCase(heads, kv_heads, head_dim, tokens, 32, kv_dtype)]


def timed_widths(model: str) -> tuple[int, int]:
    """Return the hidden and the inner size of a model."""
    return _MODELS[model][:2]


TIMED_MODELS = tuple(_MODELS)
