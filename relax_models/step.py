"""The inputs of one step of a model, and the functions that a library offers.

tokens        int32 (tiles, rows of a tile)
positions     int32 (M,), -1 for a row of padding
block_tables  int32 (S, W), page numbers; S = 1 in prefill
cos, sin      float32 (C, D / 2), twice as wide where a model has two rotary embeddings
keys, values  one pool a layer, updated in place, of the shapes of runtime/kv_layout.py

Where kernels draw tokens, generate_B also takes the tensors of runtime/draw_layout.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.relax.frontend.nn import spec

from ferrylm.runtime.draw_layout import REPORT, RING, SETTINGS, UNIFORMS
from ferrylm.runtime.kv_layout import key_shape, value_shape
from ferrylm.runtime.manifest import ModelConfig

Tensor = Any


@dataclass(frozen=True)
class Step:
    """The tensors of one step; `rows` says whether it is decode or prefill."""

    rows: Any
    tokens: Tensor
    positions: Tensor
    block_tables: Tensor
    cos: Tensor
    sin: Tensor
    keys: list[Tensor]
    values: list[Tensor]


@dataclass(frozen=True)
class DrawState:
    """The tensors of a draw beside the step's own, in the order in which functions take them."""

    slots: Tensor
    steps: Tensor
    settings: Tensor
    uniforms: Tensor
    drawn: Tensor
    seen: Tensor
    offsets: Tensor
    ring: Tensor


def draw_tensors(vocabulary: int, batch: int, slots: Any) -> dict[str, tuple[tuple[Any, ...], str]]:
    """Return shape and dtype of each tensor of a DrawState; `slots` may be symbolic."""
    return {
        "slots": ((batch,), "int32"),
        "steps": ((batch,), "int32"),
        "settings": ((slots, SETTINGS), "int32"),
        "uniforms": ((slots, UNIFORMS), "float32"),
        "drawn": ((slots,), "int32"),
        "seen": ((slots, vocabulary), "int32"),
        "offsets": ((slots, vocabulary), "float32"),
        "ring": ((RING, batch, REPORT), "int32"),
    }


def step_specs(config: ModelConfig, kernels: Any, batch: int | None) -> list[Any]:
    """Return nn specs of tokens, positions, block_tables, cos, sin, keys, values."""
    tile = kernels.rows(batch).tile
    tiles = "tiles" if batch is None else batch // tile
    width, kv_dtype = config.rope_width, kernels.shape.kv_dtype
    sizes = ("pages", config.num_kv_heads, config.head_dim, "page_size")
    keys = list(key_shape(kernels.kv_layout, *sizes))
    values = list(value_shape(kernels.kv_layout, *sizes))
    layers = range(config.num_layers)
    return [
        spec.Tensor([tiles, tile], "int32"),
        spec.Tensor(["rows" if batch is None else batch], "int32"),
        spec.Tensor([1 if batch is None else batch, "table_width"], "int32"),
        spec.Tensor(["context", width], "float32"),
        spec.Tensor(["context", width], "float32"),
        spec.Tuple("keys", [spec.Tensor(keys, kv_dtype) for _ in layers]),
        spec.Tuple("values", [spec.Tensor(values, kv_dtype) for _ in layers]),
    ]


STEP_NAMES = ["tokens", "positions", "block_tables", "cos", "sin", "keys", "values"]


def make_step(rows: Any, inputs: list[Any]) -> Step:
    """Return the Step of the nn tensors given in the order of `STEP_NAMES`."""
    tokens, positions, tables, cos, sin, keys, values = inputs
    return Step(rows, tokens, positions, tables, cos, sin, list(keys), list(values))


def export_step_functions(model: Any, kernels: Any, config: ModelConfig, batches: Any) -> Any:
    """Return (IRModule, named parameters) with prefill, score and decode_B of each batch B.

    Kernels that draw tokens give generate_B as well: decode_B and the draw after it.
    """
    names, methods = [], []

    def add(name: str, batch: int | None, extra: dict[str, Any], run: Any) -> None:
        def method(*inputs: Any) -> Any:
            return run(make_step(kernels.rows(batch), list(inputs[:7])), *inputs[7:])

        specs = step_specs(config, kernels, batch) + list(extra.values())
        names.append(name)
        arguments = [*STEP_NAMES, *extra]
        methods.append(spec.MethodSpec(method, arguments, specs, "packed", "none"))

    def generate(step: Step, *tensors: Any) -> Any:
        return model.generate(step, DrawState(*tensors))

    add("prefill", None, {"last_row": spec.Tensor([1], "int32")}, model.prefill)
    add("score", None, {}, model.score)
    for batch in batches:
        add(f"decode_{batch}", batch, {}, model.decode)
    for batch in batches if kernels.draws else ():
        tensors = draw_tensors(config.vocab_size, batch, "slot_count")
        state = {name: spec.Tensor(list(shape), dtype) for name, (shape, dtype) in tensors.items()}
        add(f"generate_{batch}", batch, state, generate)
    module_spec = spec.ModuleSpec(model, names, methods)
    return model.export_tvm(spec=module_spec, allow_extern=False)
