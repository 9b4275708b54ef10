"""A measurement as `ferry bench --kernels` makes one, of a model with two layers."""

from __future__ import annotations

from typing import Any

from ferrylm.report.measurement import FORMAT, VERSION, Kernel, MeasuredStep, Measurement

KERNELS = (
    Kernel("embed_batch1", "lookup", "", 1_000, 0),
    Kernel("norm_plain_q4_int16_96x64_batch1", "product", "int16", 4_000, 12_288),
    Kernel("rope_attention_batch1", "attention", "f32", 2_000, 3_000),
    Kernel("residual_q4_int16_64x64_batch1", "product", "int16", 3_000, 8_192),
    Kernel("norm_plain_q4_int16_500x64_batch1", "head", "int16", 20_000, 64_000),
)
ORDER = (0, 1, 2, 3, 1, 2, 3, 4)
TIMES = (2.0, 8.0, 4.0, 6.0, 8.5, 4.5, 6.5, 20.0)


def decode_step(**changes: Any) -> MeasuredStep:
    """Return a decode step of 59.5 µs in kernels."""
    fields = {
        "name": "decode, batch 1, depth 128",
        "sequences": 1,
        "rows": 1,
        "depth": 128,
        "repetitions": 5,
        "step_us": 80.0,
        "kernels": KERNELS,
        "launch_kernels": ORDER,
        "launch_us": TIMES,
    }
    return MeasuredStep(**{**fields, **changes})


def measurement(**changes: Any) -> Measurement:
    """Return a measurement of a decode step and a prompt."""
    fields = {
        "format": FORMAT,
        "version": VERSION,
        "ferrylm": "0.1.0",
        "tvm": "0.27.0",
        "started": "2026-11-21T15:00:00+00:00",
        "model": "Sample 0.1M",
        "artifact_id": "ab" * 32,
        "target": "cpu-x86-64-v3",
        "arithmetic": "int16",
        "kv_dtype": "float16",
        "bits_per_weight": 4.5,
        "cpu": "Some CPU",
        "device": "Some GPU, driver 1.2",
        "threads": 2,
        "bandwidth_gb_s": 2.0,
        "bandwidth_method": "measured",
        "device_bytes": 8 << 30,
        "context_tokens": 640,
        "sequences": 1,
        "memory_bytes": {"weights: qkv": 9_000, "weights: head": 20_000, "workspace": 500},
        "steps": (
            decode_step(),
            decode_step(name="prefill, 64 tokens, depth 0", rows=64, depth=0, step_us=50.0),
        ),
    }
    return Measurement(**{**fields, **changes})
