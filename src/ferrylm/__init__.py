"""FerryLM: compile a language model once; run it on NVIDIA, AMD, Vulkan and plain CPUs.

`import ferrylm` costs next to nothing: what a name needs is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ferrylm.errors import FerryError
    from ferrylm.runtime.generation import Chunk, Generation, TextStream, Timings
    from ferrylm.runtime.model import LanguageModel, load
    from ferrylm.runtime.sampling_options import SamplingOptions

__version__ = "0.1.0"

__all__ = [
    "Chunk",
    "FerryError",
    "Generation",
    "LanguageModel",
    "SamplingOptions",
    "TextStream",
    "Timings",
    "__version__",
    "load",
]

_HOMES = {
    "Chunk": "ferrylm.runtime.generation",
    "FerryError": "ferrylm.errors",
    "Generation": "ferrylm.runtime.generation",
    "LanguageModel": "ferrylm.runtime.model",
    "SamplingOptions": "ferrylm.runtime.sampling_options",
    "TextStream": "ferrylm.runtime.generation",
    "Timings": "ferrylm.runtime.generation",
    "load": "ferrylm.runtime.model",
}


def __getattr__(name: str) -> object:
    """Import the module behind a public name at its first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ferrylm' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(set(globals()) | set(__all__))
