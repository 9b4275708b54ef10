"""Several Python threads on one device."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tvm
from vulkan_containers import ADD, INCREMENT, MANY, SHIFT, THREADS, groups, module

from ferrylm.runtime import vulkan_backend

COUNT = 3000


def test_threads_share_a_device_and_a_module_without_mixing_their_work(device: Any) -> None:
    kernels = module(ADD, INCREMENT, SHIFT, MANY)

    def work(seed: int) -> bool:
        generator = np.random.default_rng(seed)
        for step in range(60):
            values = generator.standard_normal(COUNT).astype(np.float32)
            first = tvm.runtime.tensor(values, device)
            second = tvm.runtime.empty((COUNT,), "float32", device)
            kernels["shift"](first, second, COUNT, groups(COUNT), THREADS)
            kernels["increment"](second, COUNT, float(seed), groups(COUNT), THREADS)
            kernels["many"](*[second] * 18, first, COUNT, groups(COUNT), THREADS)
            wanted = np.roll(values, -1) + np.float32(seed)
            if not np.array_equal(second.numpy(), wanted):
                return False
            if not np.allclose(first.numpy(), 18 * wanted, rtol=1e-5, atol=1e-5):
                return False
            if step % 10 == seed % 10:
                device.sync()
        return True

    tvm.runtime.empty((1,), "float32", device)
    before = vulkan_backend.memory_report()["used_bytes"]
    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))
    # The kernels' argument pages are the only memory that stays.
    assert vulkan_backend.memory_report()["used_bytes"] - before <= 4 * 65536


def test_a_module_is_first_used_by_many_threads_at_once(device: Any) -> None:
    for _ in range(10):
        kernels = module(ADD, INCREMENT, SHIFT, MANY)

        def work(seed: int, kernels: Any = kernels) -> Any:
            tensor = tvm.runtime.tensor(np.full(THREADS, seed, np.float32), device)
            kernels["increment"](tensor, THREADS, 1.0, 1, THREADS)
            return tensor.numpy()[0]

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == [seed + 1 for seed in range(8)]
