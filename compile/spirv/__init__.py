"""TensorIR to SPIR-V: the code generator of the target `vulkan`, registered when imported.

`kernel.py` is the way in; `docs/spirv.md` says what is supported and how it is mapped.
"""

from ferrylm.compile.spirv.build import generate, register, typed_errors

__all__ = ["generate", "register", "typed_errors"]

register()
