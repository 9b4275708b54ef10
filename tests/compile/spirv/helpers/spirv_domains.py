"""Arguments that test an operation: the edges of its domain, then random ones."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

COUNT = 256  # divisible by every number of lanes times the threads of a workgroup

Array = np.ndarray
_EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -2.5, 1e-3, -7.0, 100.0, np.inf, -np.inf, np.nan]
_FINITE = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 0.25, 1e-4, -1e-4, 7.5]


def arguments(name: str, dtype: str, arity: int, seed: str) -> list[Array]:
    """Return `arity` arrays of COUNT elements of the domain `name`."""
    random = np.random.default_rng(zlib.crc32(seed.encode()))
    if dtype == "bool":
        return [random.integers(0, 2, COUNT).astype(bool) for _ in range(arity)]
    if np.dtype(dtype).kind == "f":
        found = _FLOAT_DOMAINS[name](random, arity)
        with np.errstate(over="ignore"):
            return [each.astype(dtype) for each in found]
    return _integers(name, np.dtype(dtype), random, arity)


def _integers(name: str, dtype: np.dtype, random: np.random.Generator, arity: int) -> list[Array]:
    limits = np.iinfo(dtype)
    bits = random.integers(0, 256, (arity, COUNT, dtype.itemsize), np.uint8)
    found = [each.copy().view(dtype).reshape(-1) for each in bits]
    edges = [limits.min, limits.max, 0, 1, 2, limits.max // 3, limits.max - 1]
    edges += [-1, -2, -7] if dtype.kind == "i" else []
    for position, each in enumerate(found):
        pairs = np.array(edges * len(edges), dtype)
        if position:
            pairs = np.repeat(np.array(edges, dtype), len(edges))
        each[: len(pairs)] = pairs[:COUNT]
        each[COUNT // 2 :] = (each[COUNT // 2 :] % 100).astype(dtype)  # small ones as well
    if name == "shift":
        found[1] = random.integers(0, 8 * dtype.itemsize, COUNT).astype(dtype)
    if name == "divide":
        found[1][found[1] == 0] = 3
        if dtype.kind == "i":  # the only quotient that no integer holds
            found[1][(found[0] == limits.min) & (found[1] == -1)] = 1
    if name == "ties":
        found[1][::3] = found[0][::3]
    return found


def _spread(
    random: np.random.Generator, arity: int, edges: list[float], scale: float
) -> list[Array]:
    found = random.normal(0, scale, (arity, COUNT))
    for position, each in enumerate(found):
        pairs = edges * len(edges) if position == 0 else np.repeat(edges, len(edges))
        chosen = np.array(pairs)[: COUNT // 2]
        each[: len(chosen)] = chosen
    return list(found)


def _any(random: np.random.Generator, arity: int) -> list[Array]:
    return _spread(random, arity, _EDGES, 20)


def _tame(random: np.random.Generator, arity: int) -> list[Array]:
    found = _spread(random, arity, _FINITE, 20)
    return found


def _ties(random: np.random.Generator, arity: int) -> list[Array]:
    found = _any(random, arity)
    found[1][::3] = found[0][::3]
    return found


def _ratio(random: np.random.Generator, arity: int) -> list[Array]:
    found = _spread(random, arity, _EDGES, 20)
    found[1][np.abs(found[1]) < 1e-2] = 0.75
    return found


def _halfway(random: np.random.Generator, arity: int) -> list[Array]:
    found = _any(random, arity)
    found[0][COUNT // 2 :] = np.arange(-COUNT // 4, COUNT // 4) * 0.5
    found[0][-3:] = [0.49999997, -0.49999997, 1023.5]
    return found


def _between(low: float, high: float, *edges: float) -> Callable[..., list[Array]]:
    def draw(random: np.random.Generator, arity: int) -> list[Array]:
        found = random.uniform(low, high, (arity, COUNT))
        for each in found:
            each[: len(edges)] = edges
        return list(found)

    return draw


def _positive(random: np.random.Generator, arity: int) -> list[Array]:
    return [np.exp2(random.uniform(-13, 15, COUNT)) for _ in range(arity)]


def _power(random: np.random.Generator, arity: int) -> list[Array]:
    base, exponent = random.uniform(0.01, 10, COUNT), random.uniform(-4, 4, COUNT)
    whole = slice(0, 64)
    base[whole] = random.uniform(-4, 4, 64)
    exponent[whole] = random.integers(-5, 6, 64)
    base[:6], exponent[:6] = [0, 0, -2, 1, -1, 3], [2, 0, 0.5, 77, 3, 0]
    return [base, exponent][:arity]


def _fmod(random: np.random.Generator, arity: int) -> list[Array]:
    return [random.uniform(-50, 50, COUNT), random.uniform(1, 9, COUNT)][:arity]


_FLOAT_DOMAINS: dict[str, Callable[[np.random.Generator, int], list[Array]]] = {
    "any": _any,
    "tame": _tame,
    "ties": _ties,
    "ratio": _ratio,
    "halfway": _halfway,
    "positive": _positive,
    "exponent": _between(-10, 10, 0.0, -0.0, 1.0, -1.0, 1e-3, -1e-3, 0.3, -0.3),
    "small": _between(-4, 4, 0.0, -0.0, 1.0, -1.0, 1e-3, -1e-3),
    "angle": _between(-500, 500, 0.0, -0.0, 0.785, 1.5707, 3.1416, -3.1416, 1e-3),
    "unit": _between(-1, 1, 0.0, 1.0, -1.0, 0.5, -0.5),
    "inside_unit": _between(-0.99, 0.99, 0.0, 1e-3, -1e-3, 0.5),
    "above_one": _between(1, 60, 1.0, 1.0009766, 2.0),
    "above_minus_one": _between(-0.9, 9, 0.0, 1e-3, -1e-3, 1e-4),
    "power": _power,
    "fmod": _fmod,
    "fits": _between(-120, 120, 0.0, -0.0, 0.5, -0.5, 1.5, -1.5, 119.99, 1e-9),
}
