from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu import activations, embedding, rope
from ferrylm.schedules.gpu.expose import expose
from ferrylm.schedules.gpu.layout import ActivationLayout, WeightFormat, groups, padded
from ferrylm.schedules.gpu.norm_add import norm_add
from ferrylm.schedules.gpu.tiles import row_threads
from tests import reference
from tests.numeric_gates import FP32, nmse
from tests.schedules.gpu import gpu_data as data
from tests.schedules.gpu.machines import CUDA, MACHINES, VULKAN, Machine
from tests.schedules.packed_weights import canonical_weights

M = 8
WIDTHS = [(VULKAN, 18), (VULKAN, 100), (VULKAN, 576), (CUDA, 100), (CUDA, 576)]
on_every_machine = pytest.mark.parametrize("machine", MACHINES, ids=str)


def quantizer(machine: Machine, layout: ActivationLayout, *, gained: bool) -> Any:
    """Return the kernel that quantizes M rows."""
    threads, subgroup = row_threads(machine.dot, layout.columns), machine.dot.subgroup
    return activations.quantize(Rows(M), layout, threads, subgroup, gained=gained)


@pytest.mark.parametrize(("machine", "width"), WIDTHS, ids=str)
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("gained", [False, True])
def test_quantized_rows_are_half_a_code_off_at_most(
    machine: Machine, width: int, parts: int, gained: bool
) -> None:
    func = quantizer(machine, ActivationLayout(width, parts), gained=gained)
    x, g = data.random_rows(M, width, 0), groups(width)
    x[3, :width] = 0
    gain = np.random.default_rng(1).standard_normal(width).astype(np.float32)
    results = [((M, 2 * parts, g, 4), "uint32"), ((M, g, 4), "uint32")]
    codes, terms = machine.run(
        machine.build({"f": func})["f"], [x, gain] if gained else [x], results
    )
    wide = np.zeros((M, g * 32))
    wide[:, :width] = x[:, :width].astype(np.float64)
    np.testing.assert_allclose(
        data.squares_of(terms), (wide**2).reshape(M, g, 32).sum(axis=2), rtol=1e-5
    )
    if gained:
        wide[:, :width] *= gain
    values = data.values_of(codes)
    largest = np.abs(wide.reshape(M, g, 32)).max(axis=2)
    step = np.repeat(largest / data.LARGEST[parts], 32, axis=1)
    assert (np.abs(data.scaled(codes, terms) - wide) <= 0.501 * step).all()
    np.testing.assert_array_equal(values.reshape(M, g, 32).sum(axis=2), data.sums_of(terms))
    assert np.abs(values).max() == data.LARGEST[parts]


@on_every_machine
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_reaches_the_scale(machine: Machine, bad: float) -> None:
    x = data.random_rows(M, 64, 0)
    x[2, 40] = bad
    func = quantizer(machine, ActivationLayout(64, 2), gained=False)
    results = [((M, 4, 2, 4), "uint32"), ((M, 2, 4), "uint32")]
    _, terms = machine.run_one(func, [x], results)
    scales = np.ascontiguousarray(terms[..., 0]).view(np.float32)
    assert not np.isfinite(scales[2, 1])
    assert np.isfinite(np.delete(scales.reshape(-1), 5)).all()


@pytest.mark.parametrize(("machine", "width"), WIDTHS, ids=str)
def test_norm_keeps_the_gate(machine: Machine, width: int) -> None:
    x = data.random_rows(M, width, 0)
    gain = np.random.default_rng(1).standard_normal(width).astype(np.float32)
    threads, subgroup = row_threads(machine.dot, width), machine.dot.subgroup
    func = activations.norm(Rows(M), width, threads, subgroup, 1e-5)
    y = machine.run_one(func, [x, gain], [((M, padded(width)), "float32")])[0]
    expected = reference.rms_norm(x[:, :width], gain, 1e-5)
    assert nmse(y[:, :width], expected) <= FP32.operator_nmse
    assert (y[:, width:] == 0).all()


@on_every_machine
def test_exposed_rows_are_the_kept_ones_and_nan_where_codes_contradict_them(
    machine: Machine,
) -> None:
    width, parts = 100, 2
    layout = ActivationLayout(width, parts)
    quantize = quantizer(machine, layout, gained=True)
    threads, subgroup = row_threads(machine.dot, width), machine.dot.subgroup
    shown = expose(Rows(M), layout, threads, subgroup, kept=True)
    built = machine.build({"quantize": quantize, "expose": shown})
    x, g = data.zero_rows(M, width, 0), groups(width)
    gain = np.random.default_rng(1).standard_normal(width).astype(np.float32)
    results = [((M, 2 * parts, g, 4), "uint32"), ((M, g, 4), "uint32")]
    codes, terms = machine.run(built["quantize"], [x, gain], results)
    out = [((M, padded(width)), "float32")]
    good = machine.run(built["expose"], [codes, terms, x, gain], out)[0]
    np.testing.assert_array_equal(good[:, :width], x[:, :width])
    for spoil in ("code", "scale", "sum", "squares"):
        wrong_codes, wrong_terms = codes.copy(), terms.copy()
        if spoil == "code":
            wrong_codes[5, 0, 1, 2] ^= 0x0300
        else:
            place = ["scale", "sum", "squares"].index(spoil)
            wrong_terms[5, 1, place] += 1 << 12
        found = machine.run(built["expose"], [wrong_codes, wrong_terms, x, gain], out)[0]
        assert np.isnan(found[5, 32:64]).any(), spoil
        np.testing.assert_array_equal(np.delete(found, 5, axis=0), np.delete(good, 5, axis=0))


@on_every_machine
@pytest.mark.parametrize(
    ("storage", "minimum"), [("q4", False), ("q4", True), ("q8", False), ("f16", False)]
)
def test_embedding_rows_are_decoded(machine: Machine, storage: str, minimum: bool) -> None:
    vocabulary, width = 50, 100
    arithmetic = "f32" if storage == "f16" else "int16"
    fmt = WeightFormat(vocabulary, width, storage, minimum, arithmetic)
    canonical = canonical_weights(storage, minimum, vocabulary, width)
    tokens = np.random.default_rng(2).integers(0, vocabulary, (2, M)).astype(np.int32)
    func = embedding.embed(Rows(M), fmt, row_threads(machine.dot, width))
    arguments = [tokens, *data.weights(canonical)]
    x = machine.run(
        machine.build({"f": func})["f"], arguments, [((2 * M, padded(width)), "float32")]
    )[0]
    expected = reference.dequantize(canonical, width)[tokens.reshape(-1)]
    np.testing.assert_allclose(x[:, :width], expected, rtol=1e-6, atol=1e-6)
    assert (x[:, width:] == 0).all()


@on_every_machine
@pytest.mark.parametrize("storage", ["q8", "f32"])
def test_looking_up_rows_zeroes_the_counters_of_the_step(machine: Machine, storage: str) -> None:
    width, counters = 64, 70  # more of these than threads
    fmt = WeightFormat(50, width, storage, False, "f32" if storage == "f32" else "int16")
    canonical = canonical_weights(storage, False, 50, width)
    tokens = np.array([[7], [3], [49]], np.int32)
    threads = row_threads(machine.dot, width)
    built = machine.build(
        {
            "embed": embedding.embed(Rows(1, 3), fmt, threads, counters),
            "alone": embedding.zero_counters(3, counters, threads),
        }
    )
    out = [((3, counters), "int32"), ((3, width), "float32")]
    zeroed, x = machine.run(built["embed"], [tokens, *data.weights(canonical)], out)
    assert (zeroed == 0).all()
    expected = reference.dequantize(canonical, width)[tokens[:, 0]]
    np.testing.assert_allclose(x, expected, rtol=1e-6, atol=1e-6)
    assert (machine.run(built["alone"], [], out[:1])[0] == 0).all()


@pytest.mark.parametrize(("machine", "width"), WIDTHS, ids=str)
@pytest.mark.parametrize("parts", [0, 2])
def test_a_normalized_product_is_added_to_the_residual_and_quantized(
    machine: Machine, width: int, parts: int
) -> None:
    threads, subgroup, g = row_threads(machine.dot, width), machine.dot.subgroup, groups(width)
    y, residual = data.random_rows(M, width, 0), data.random_rows(M, width, 1)
    gains = np.random.default_rng(2).standard_normal((2, width)).astype(np.float32)
    wanted = reference.rms_norm(y[:, :width], gains[0], 1e-2) + residual[:, :width]
    func = norm_add(Rows(M), width, threads, subgroup, 1e-2, parts)
    inputs = [y, gains[0], residual, *([gains[1]] if parts else [])]
    results = [((M, padded(width)), "float32")]
    if parts:
        results += [((M, 2 * parts, g, 4), "uint32"), ((M, g, 4), "uint32")]
    x, *quantized = machine.run(machine.build({"f": func})["f"], inputs, results)
    assert nmse(x[:, :width], wanted) <= FP32.operator_nmse
    assert (x[:, width:] == 0).all()
    if not parts:
        return
    wide = np.zeros((M, g * 32))
    wide[:, :width] = wanted
    squares = (wide**2).reshape(M, g, 32).sum(axis=2)
    np.testing.assert_allclose(data.squares_of(quantized[1]), squares, rtol=1e-4)
    wide[:, :width] *= gains[1]
    step = np.repeat(np.abs(wide.reshape(M, g, 32)).max(axis=2) / data.LARGEST[parts], 32, axis=1)
    assert (np.abs(data.scaled(*quantized) - wide) <= 0.51 * step + 1e-5).all()


@on_every_machine
def test_a_row_is_selected(machine: Machine) -> None:
    x = data.random_rows(2 * M, 100, 0)
    func = embedding.select_row(Rows(M), 100, row_threads(machine.dot, 100))
    y = machine.run(
        machine.build({"f": func})["f"], [x, np.array([11], np.int32)], [((1, 128), "float32")]
    )[0]
    np.testing.assert_array_equal(y[0], x[11])


@on_every_machine
@pytest.mark.parametrize(("head_dim", "eps"), [(18, None), (64, None), (18, 1e-2), (80, 1e-2)])
def test_rope_rotates_and_appends_to_the_pages(
    machine: Machine, head_dim: int, eps: float | None
) -> None:
    shape = AttentionShape(6, 2, head_dim, "float16", head_norm_eps=eps)
    positions = np.array([5, -1, 70, 33], np.int32)
    m, half, page, wide = len(positions), head_dim // 2, 32, padded(head_dim, 8)
    generator = np.random.default_rng(0)
    qkv = data.random_rows(m, 10 * head_dim, 1)
    angles = generator.random((128, half)) * 6
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    table = generator.permutation(m * 4)[:4].astype(np.int32)
    keys = np.zeros((m * 4, 2, wide // 8, page, 8), np.float16)
    values = np.zeros((m * 4, 2, page, wide), np.float16)
    func = rope.rope_append(Rows(m, m), shape, 64, machine.dot.subgroup)
    gains = generator.uniform(0.5, 2, 2 * head_dim).astype(np.float32)
    built = machine.build({"f": func})["f"]
    inputs = [
        qkv,
        cos,
        sin,
        positions,
        table[None],
        keys,
        values,
        *([gains] if eps else []),
        np.zeros((m, 6, head_dim), np.float32),
    ]
    found_keys, found_values, *_, q = machine.run_in_place(built, inputs)[5:]
    heads = qkv[:, : 10 * head_dim].reshape(m, 10, head_dim).astype(np.float64)
    if eps:
        for part, gain in ((slice(0, 6), gains[:head_dim]), (slice(6, 8), gains[head_dim:])):
            heads[:, part] = reference.rms_norm(heads[:, part], gain, eps)
    where = np.maximum(positions, 0)
    c, s = cos[where][:, None].astype(np.float64), sin[where][:, None].astype(np.float64)
    first, second = heads[:, :8, :half], heads[:, :8, half:]
    turned = np.concatenate([first * c - second * s, second * c + first * s], axis=2)
    np.testing.assert_allclose(q, turned[:, :6] / np.sqrt(head_dim), rtol=1e-5, atol=1e-5)
    for row, position in enumerate(positions):
        if position < 0:
            continue
        at, slot = table[position // page], position % page
        key = found_keys[at, :, :, slot].reshape(2, wide)[:, :head_dim]
        np.testing.assert_allclose(key, turned[row, 6:], rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(
            found_values[at, :, slot, :head_dim], heads[row, 8:], rtol=2e-3, atol=2e-3
        )
    used = sum(position >= 0 for position in positions)
    assert np.count_nonzero(found_values.any(axis=3)) == 2 * used, "nothing else is written"
