"""Functions of real numbers: which are instructions, and which are computed (expansions.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ferrylm.compile.spirv import angles, expansions
from ferrylm.compile.spirv.call import Call
from ferrylm.compile.spirv.conversions import cast
from ferrylm.compile.spirv.enumerants import Glsl
from ferrylm.compile.spirv.values import BOOL, FLOAT16, FLOAT32, Scalar, Value
from ferrylm.compile.spirv.writer import Handler, Writer


@dataclass(frozen=True)
class Instruction:
    """An extended instruction. `exact`: correct on halves, so that these are not widened."""

    number: Glsl
    exact: bool = False
    doubles: bool = False


Expansion = Callable[..., Value]

INSTRUCTIONS: Mapping[str, Instruction] = {
    "floor": Instruction(Glsl.FLOOR, exact=True, doubles=True),
    "ceil": Instruction(Glsl.CEIL, exact=True, doubles=True),
    "trunc": Instruction(Glsl.TRUNC, exact=True, doubles=True),
    "nearbyint": Instruction(Glsl.ROUND_EVEN, exact=True, doubles=True),
    "sqrt": Instruction(Glsl.SQRT, doubles=True),
    "rsqrt": Instruction(Glsl.INVERSE_SQRT, doubles=True),
    "exp": Instruction(Glsl.EXP),
    "exp2": Instruction(Glsl.EXP2),
    "log": Instruction(Glsl.LOG),
    "log2": Instruction(Glsl.LOG2),
}

# Computed in float32; halves are widened. Doubles are refused unless listed in _ANY_FLOAT.
EXPANSIONS: Mapping[str, tuple[int, Expansion]] = {
    "sin": (1, angles.sine),
    "cos": (1, angles.cosine),
    "tan": (1, angles.tangent),
    "asin": (1, angles.arc_sine),
    "acos": (1, angles.arc_cosine),
    "atan": (1, angles.arc_tangent),
    "atan2": (2, angles.arc_tangent2),
    "sinh": (1, expansions.hyperbolic_sine),
    "cosh": (1, expansions.hyperbolic_cosine),
    "tanh": (1, expansions.hyperbolic_tangent),
    "asinh": (1, expansions.area_sine),
    "acosh": (1, expansions.area_cosine),
    "atanh": (1, expansions.area_tangent),
    "exp10": (1, expansions.exponential10),
    "log10": (1, expansions.logarithm10),
    "log1p": (1, expansions.logarithm_of_one_plus),
    "pow": (2, expansions.power),
    "erf": (1, expansions.error_function),
    "sigmoid": (1, expansions.sigmoid),
    "hypot": (2, expansions.hypotenuse),
    "fmod": (2, expansions.remainder),
    "ldexp": (2, expansions.scaled_by_power),
}

# These work on bits or on any float type.
ANY_FLOAT: Mapping[str, tuple[int, Expansion]] = {
    "fabs": (1, expansions.absolute),
    "round": (1, expansions.round_away),
    "copysign": (2, expansions.copy_sign),
    "isnan": (1, expansions.is_nan),
    "isinf": (1, expansions.is_infinite),
    "isfinite": (1, expansions.is_finite),
}


def _instruction(name: str, instruction: Instruction) -> Handler:
    def handle(writer: Writer, call: Call) -> Value:
        (value,) = call.values(writer, 1)
        scalar = _float(writer, name, value)
        if scalar.bits == 64 and not instruction.doubles:
            writer.refuse(f"{name} of float64", "float32: Vulkan has no such function of doubles")
        if scalar == FLOAT16 and not instruction.exact:
            wide = writer.map_glsl(instruction.number, FLOAT32, cast(writer, value, FLOAT32))
            return cast(writer, wide, FLOAT16)
        return writer.map_glsl(instruction.number, scalar, value)

    return handle


def _expansion(name: str, arity: int, expansion: Expansion, *, any_float: bool) -> Handler:
    def handle(writer: Writer, call: Call) -> Value:
        values = call.values(writer, arity)
        scalar = _float(writer, name, values[0])
        if any_float and not writer.widened(scalar):
            return expansion(writer, *values)
        if scalar.bits == 64:
            writer.refuse(f"{name} of float64", "float32: Vulkan has no such function of doubles")
        wide = [cast(writer, v, FLOAT32) if v.scalar.is_float else v for v in values]
        found = expansion(writer, *wide)
        return found if found.scalar == BOOL else cast(writer, found, scalar)

    return handle


def _float(writer: Writer, name: str, value: Value) -> Scalar:
    if not value.scalar.is_float:
        writer.refuse(f"{name} of {value.scalar.name}", "a float")
    return value.scalar


def _named(name: str) -> list[str]:
    namespace = "prim" if name in ("log2", "ceil") else "tirx"
    return [f"{namespace}.{name}", f"ferrylm.math.{name}"]


OPERATIONS: Mapping[str, Handler] = {
    **{
        key: _instruction(name, each) for name, each in INSTRUCTIONS.items() for key in _named(name)
    },
    **{
        key: _expansion(name, *each, any_float=name in ANY_FLOAT)
        for name, each in {**EXPANSIONS, **ANY_FLOAT}.items()
        for key in _named(name)
    },
}

# What lowering for other targets would turn into calls of the C library: kept as they are.
KEPT_BY_LOWERING = tuple(_named(name)[0] for name in (*INSTRUCTIONS, *EXPANSIONS, *ANY_FLOAT))
