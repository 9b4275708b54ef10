"""The element types of tensors: their names in manifests, numpy and safetensors files."""

from __future__ import annotations

ITEM_BYTES = {
    "uint8": 1,
    "int8": 1,
    "uint16": 2,
    "int16": 2,
    "float16": 2,
    "uint32": 4,
    "int32": 4,
    "float32": 4,
    "uint64": 8,
    "int64": 8,
    "float64": 8,
}

SAFETENSORS_NAMES = {
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "float16": "F16",
    "uint32": "U32",
    "int32": "I32",
    "float32": "F32",
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
}

# https://huggingface.co/docs/safetensors: every type of whole bytes.
SAFETENSORS_ITEM_BYTES = {
    **{SAFETENSORS_NAMES[name]: size for name, size in ITEM_BYTES.items()},
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "BF16": 2,
    "C64": 8,
}
