from __future__ import annotations

import tvm

from ferrylm.compile.relax_pipeline import lower_relax
from ferrylm.relax_models.decoder import Decoder, canonical_weights
from ferrylm.relax_models.step import export_step_functions
from ferrylm.runtime.manifest import ModelConfig, RopeConfig
from ferrylm.schedules.cpu.attention import AttentionShape
from ferrylm.schedules.cpu.kernels import CpuKernels, MatrixStorage
from ferrylm.schedules.cpu.profile import PROFILES

CONFIG = ModelConfig(
    "llama", 64, 96, 1, 4, 2, 16, 272, 64, 1e-5, True, RopeConfig("default", 10000.0)
)


def test_a_step_is_lowered_to_the_same_text_every_time() -> None:
    """TVM's VMShapeLower goes by addresses: without the pass after it three of twelve differ."""
    profile = PROFILES["x86-64-v3"]
    storage = {
        weight.name: MatrixStorage(weight.rows, weight.columns, "f32")
        for weight in canonical_weights(CONFIG)
        if weight.columns is not None
    }
    kernels = CpuKernels(profile, "f32", AttentionShape(4, 2, 16, "float32"))
    model = Decoder(CONFIG, kernels, storage)
    kept, texts = [], set()
    for _ in range(20):
        module, _ = export_step_functions(model, kernels, CONFIG, ())
        with tvm.target.Target(profile.tvm_target()):
            lowered = lower_relax({"tiles": 64})(module)
        kept.append(lowered)  # so that the next one lies elsewhere
        functions = {variable.name_hint: func for variable, func in lowered.functions_items()}
        found = [name for name in functions if name.startswith("shape_func")]
        assert found
        texts.add("\n".join(f"{name} {functions[name].script()}" for name in sorted(functions)))
    assert len(texts) == 1
