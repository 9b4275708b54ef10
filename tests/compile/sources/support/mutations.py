"""Seeded, structure-aware damage to model files: the same mutants on every run."""

from __future__ import annotations

import copy
import json
import random
import struct
from typing import Any

from gguf_builder import ARRAY, F32, I32, STRING, U8, U32, U64, GgufFile, GgufTensor, Typed

INTEGERS = [
    0, 1, 2, 3, 7, 31, 32, 33, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1,
    2**32, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
]  # fmt: skip
JSON_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 64, 2**31, 2**32, 2**53, 2**63, -(2**63), 2**64, 10**30, 0.5,
    -0.0, 1e308, 1e-320, "", "x", "\x00", "../../etc/passwd", "\u202e", "x" * 1000, "\U0010ffff",
    [], {}, [[]], [None], {"": None}, {"type": "Sequence"}, [0] * 100, "NaN", "(a+)+$",
]  # fmt: skip


def damage_bytes(raw: bytes, chance: random.Random, within: int | None = None) -> bytes:
    """Flip bits, write telling numbers, cut, delete, repeat or insert; mostly before `within`."""
    data = bytearray(raw)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        end = len(data) if within is None or chance.random() < 0.1 else min(within, len(data))
        if end == 0:
            return bytes(data)
        at = chance.randrange(end)
        kind = chance.randrange(7)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at] = chance.randrange(256)
        elif kind == 2:
            data[at : at + 8] = struct.pack("<Q", chance.choice(INTEGERS))
        elif kind == 3:
            data[at : at + 4] = struct.pack("<I", chance.choice(INTEGERS) & 0xFFFFFFFF)
        elif kind == 4:
            del data[at : at + chance.choice([1, 4, 8, 100])]
        elif kind == 5:
            data[at:at] = data[at : at + chance.choice([1, 4, 8, 100])]
        else:
            del data[chance.randrange(len(data)) :]
    return bytes(data)


def damage_gguf(file: GgufFile, chance: random.Random) -> GgufFile:
    """Change fields of a GGUF file, and keep all others consistent with each other."""
    mutant = copy.deepcopy(file)
    for _ in range(chance.choice([1, 1, 2, 3])):
        if chance.random() < 0.5:
            _damage_metadata(mutant, chance)
        else:
            _damage_tensor(mutant, chance)
    if chance.random() < 0.1:
        mutant.tensor_count = chance.choice(INTEGERS)
    if chance.random() < 0.1:
        mutant.key_count = chance.choice(INTEGERS)
    if chance.random() < 0.1:
        mutant.alignment = chance.choice([1, 8, 16, 64])
    return mutant


def _damage_metadata(file: GgufFile, chance: random.Random) -> None:
    index = chance.randrange(len(file.metadata))
    key, typed = file.metadata[index]
    kind = chance.randrange(6)
    if kind == 0:
        del file.metadata[index]
    elif kind == 1:
        file.metadata.append((key, typed))
    elif kind == 2:
        file.metadata[index] = (key, Typed(U64, chance.choice(INTEGERS)))
    elif kind == 3:
        value = chance.choice([0.0, -1.0, float("nan"), float("inf"), 1e30, 1e-30])
        file.metadata[index] = (key, Typed(F32, value))
    elif kind == 4:
        value = chance.choice(["", "llama", "gpt2", "qwen2", "x" * 300, "\0", "default"])
        file.metadata[index] = (key, Typed(STRING, value))
    else:
        file.metadata[index] = (key, _damaged_array(typed, chance))


def _damaged_array(typed: Typed, chance: random.Random) -> Typed:
    if typed.kind != ARRAY or chance.random() < 0.2:
        element = chance.choice([U8, U32, I32, F32, STRING, ARRAY, 99])
        count = struct.pack("<IQ", element, chance.choice(INTEGERS))
        return Typed(ARRAY, count + bytes(chance.randrange(64)))
    values = list(typed.value)
    for _ in range(chance.choice([1, 2, 10])):
        at, other = chance.randrange(len(values)), chance.randrange(len(values))
        action = chance.randrange(4)
        if action == 0:
            values[at] = values[other]
        elif action == 1 and len(values) > 1:
            del values[at]
        elif action == 2:
            values.insert(at, values[other])
        elif isinstance(values[at], str):
            values[at] = chance.choice(["", " ", "a b c", "\u2581" * 600, values[at] * 3])
        else:
            values[at] = chance.choice([0, 1, 2, 3, 4, 5, 6, 7, 100])
    return Typed(ARRAY, values, typed.element_kind)


def _damage_tensor(file: GgufFile, chance: random.Random) -> None:
    index = chance.randrange(len(file.tensors))
    fields = dict(vars(file.tensors[index]))
    kind = chance.randrange(6)
    if kind == 0:
        del file.tensors[index]
        return
    if kind == 1:
        dimensions = list(fields["dimensions"])
        dimensions[chance.randrange(len(dimensions))] = chance.choice(INTEGERS)
        fields["dimensions"] = tuple(dimensions)
    elif kind == 2:
        fields["dimensions"] = tuple(reversed(fields["dimensions"])) + (1,) * chance.randrange(3)
    elif kind == 3:
        fields["type_number"] = chance.choice([*range(40), 2**31])
    elif kind == 4:
        fields["offset"] = chance.choice([*INTEGERS, 32 * chance.randrange(4096)])
    else:
        fields["name"] = chance.choice([tensor.name for tensor in file.tensors] + ["", "blk.0."])
    file.tensors[index] = GgufTensor(**fields)


def damage_json(document: Any, chance: random.Random) -> bytes:
    """Change a JSON document's tree, and sometimes its text."""
    mutant = copy.deepcopy(document)
    for _ in range(chance.choice([1, 1, 2, 3])):
        _damage_tree(mutant, chance)
    text = json.dumps(mutant).encode("ascii")
    return damage_bytes(text, chance) if chance.random() < 0.2 else text


def _damage_tree(root: Any, chance: random.Random) -> None:
    """Descend at random, then replace, remove, rename or repeat what is there."""
    node = root
    while True:
        if not isinstance(node, (dict, list)) or not node:
            return
        key = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
        child = node[key]
        if isinstance(child, (dict, list)) and child and chance.random() < 0.7:
            node = child
            continue
        break
    kind = chance.randrange(5)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[chance.choice(["", "type", "x", *map(str, node)])] = node.pop(key)
    elif kind == 2 and isinstance(node, list):
        node.insert(key, copy.deepcopy(chance.choice(node)))
    else:
        node[key] = copy.deepcopy(chance.choice(JSON_VALUES))
