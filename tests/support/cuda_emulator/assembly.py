"""PTX in CUDA C++ as calls of functions of C++: `asm("lop3.b32 ...")` becomes ptx::lop3_b32(...).

What is understood: instructions with registers, vectors of them, addresses and numbers; labels,
branches under a predicate, and declared registers. The function of an instruction has its name with
_ for every run of dots and colons; a width in `m64n128k16` is N there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

INCLUDE = Path(__file__).parent / "include"
_ASM = re.compile(r"\basm\s*(?:volatile\s*)?\(")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_TYPES = {"r": "uint32_t", "f": "float", "l": "uint64_t", "h": "uint16_t", "d": "double"}
_REGISTERS = {".pred": "bool", ".b32": "uint32_t", ".b64": "uint64_t", ".b16": "uint16_t"}
_LABEL = re.compile(r"^(\w+)\s*:(?!:)\s*")
_PREDICATE = re.compile(r"^@(!?)([\w%]+)\s+")
_FUNCTION = re.compile(r"^(?:inline )?void (\w+)\(", re.MULTILINE)


class UnknownAssembly(Exception):
    """PTX that the emulator has no body for."""


@dataclass(frozen=True)
class Operand:
    """A value that a statement is given or gives back."""

    constraint: str
    expression: str

    @property
    def type(self) -> str:
        """Return the type of the register that holds it."""
        return _TYPES.get(self.constraint[-1], "long long")


def translate(source: str) -> str:
    """Return a source with calls in the place of assembly. Raises UnknownAssembly."""
    parts: list[str] = []
    place = 0
    while match := _ASM.search(source, place):
        end = _closing(source, match.end())
        parts += [source[place : match.start()], _block(source[match.end() : end], len(parts))]
        place = source.index(";", end) + 1
    return "".join([*parts, source[place:]])


@cache
def instructions() -> frozenset[str]:
    """Return the functions that there are."""
    found: set[str] = set()
    for header in INCLUDE.glob("ptx_*.h"):
        found.update(_FUNCTION.findall(header.read_text()))
    return frozenset(found)


def _closing(text: str, start: int) -> int:
    """Return where the parenthesis closes that was opened just before `start`."""
    depth = 1
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[()]', text[start:]):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return start + match.start()
    raise UnknownAssembly(f"assembly without an end: {text[start : start + 80]!r}")


def _split(text: str, separator: str) -> list[str]:
    """Split at separators outside of strings and brackets."""
    parts, depth, last = [], 0, 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[({})\]]|' + re.escape(separator), text):
        if match[0] == separator and depth == 0:
            parts.append(text[last : match.start()])
            last = match.end()
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(match[0], 0)
    return [part.strip() for part in [*parts, text[last:]]]


def _block(arguments: str, number: int) -> str:
    """Return the C++ of one statement, given what stands between its parentheses."""
    sections = _split(arguments, ":")
    text = "".join(_STRING.findall(sections[0])).replace("\\n", " ").replace("\\t", " ")
    outputs = _operands(sections[1]) if len(sections) > 1 else []
    inputs = _operands(sections[2]) if len(sections) > 2 else []
    lines = []
    for index, operand in enumerate([*outputs, *inputs]):
        given = operand.constraint[0] != "="
        value = f" = ({operand.type})({operand.expression})" if given else ""
        lines.append(f"{operand.type} p{index}{value};")
    lines += _statements(text.strip(), number)
    for index, output in enumerate(outputs):
        kind = f"std::remove_reference_t<decltype(({output.expression}))>"
        lines.append(f"({output.expression}) = ({kind})p{index};")
    return "{ " + " ".join(lines) + " }"


def _operands(section: str) -> list[Operand]:
    found = []
    for part in _split(section, ",") if section else []:
        match = re.fullmatch(r'"([^"]+)"\s*\((.*)\)', part, re.DOTALL)
        if match is None:
            raise UnknownAssembly(f"the operand {part!r}")
        found.append(Operand(match[1], match[2]))
    return found


def _statements(text: str, number: int) -> list[str]:
    if text.startswith("{") and text.endswith("}") and _closes_last(text):
        text = text[1:-1]
    return [_statement(one, number) for one in _split(text, ";") if one]


def _closes_last(text: str) -> bool:
    depth = 0
    for place, letter in enumerate(text):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if depth == 0:
            return place == len(text) - 1
    return False


def _statement(text: str, number: int) -> str:
    prefix = ""
    while match := _LABEL.match(text):
        prefix += f"label{number}_{match[1]}: "
        text = text[match.end() :]
    if match := _PREDICATE.match(text):
        prefix += f"if ({match[1]}{_operand(match[2])}) "
        text = text[match.end() :]
    mnemonic, _, rest = text.partition(" ")
    if mnemonic == ".reg":
        kind, _, names = rest.strip().partition(" ")
        return f"{prefix}{_REGISTERS[kind]} {names};"
    if mnemonic == "bra":
        return f"{prefix}goto label{number}_{rest.strip()};"
    operands = [_operand(operand) for operand in _split(rest, ",") if operand]
    return f"{prefix}ptx::{function_name(mnemonic)}({', '.join(operands)});"


def function_name(mnemonic: str) -> str:
    """Return the function of an instruction. Raises UnknownAssembly."""
    name = re.sub(r"[.:]+", "_", re.sub(r"\b(m64n)\d+(k\d+)\b", r"\1N\2", mnemonic))
    if name not in instructions():
        raise UnknownAssembly(f"no function {name} in include/ptx_*.h for {mnemonic}")
    return name


def _operand(text: str) -> str:
    if text.startswith("{"):
        return f"ptx::pack({', '.join(_operand(part) for part in _split(text[1:-1], ','))})"
    if text.startswith("["):
        return _operand(text[1:-1])
    if re.fullmatch(r"%\d+", text):
        return "p" + text[1:]
    if text == "_":
        return "ptx::Sink()"
    if re.fullmatch(r"-?\w+", text):
        return text
    raise UnknownAssembly(f"the operand {text!r} of an instruction")
