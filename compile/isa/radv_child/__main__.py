"""Read one shader a line from standard input, write what the driver made of it, a line each.

First line out: the device. Then for each line in, {"spirv": base64, "subgroup": 0 or a width,
"full_subgroups", "push_constant_bytes", "texts"}, one line out: {"statistics", "texts"} or
{"problem"}. A driver that crashes ends the process, so each line goes out at once.
"""

from __future__ import annotations

import base64
import json
import sys

from .device import Device, Shader, VulkanFailure


def _say(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _compiled(device: Device, line: str) -> dict[str, object]:
    asked = json.loads(line)
    shader = Shader(**{**asked, "spirv": base64.b64decode(asked["spirv"])})
    try:
        statistics, texts = device.compile(shader)
    except VulkanFailure as problem:
        return {"problem": str(problem)}
    return {"statistics": statistics, "texts": texts}


def main() -> None:
    """Answer until standard input ends."""
    try:
        device = Device()
    except (OSError, VulkanFailure) as problem:
        _say({"problem": str(problem)})
        return
    _say(
        {
            "name": device.name,
            "subgroups": device.subgroups,
            "missing_features": device.missing_features,
        }
    )
    for line in sys.stdin:
        _say(_compiled(device, line))


main()
