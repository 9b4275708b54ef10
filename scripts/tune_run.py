"""Checks and times the candidates of tune.py on a device. Needs no compiler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ferrylm.errors import DeviceError, UsageError
from ferrylm.runtime.backends import open_backend, probe_kind
from ferrylm.runtime.device_bandwidth import measure_device_bandwidth
from scripts.cold_launches import cold_copies, microseconds
from scripts.tune_product import TunedProduct

FORMAT, RESULTS = "ferrylm-tune", "ferrylm-tune-results"
LARGEST_ERROR = 1e-8  # NMSE: results of 15 bits and a sign have some 1e-10, a lost group 1e-3


def run(folder: Path, device: str, repetitions: int, cold_bytes: int) -> dict[str, Any]:
    """Return the times of all candidates whose results are right, and what was wrong with others.

    Raises UsageError, DeviceError.
    """
    document = json.loads((folder / "tune.json").read_text())
    kind, _, number = device.partition(":")
    if document.get("format") != FORMAT or document["target"].partition("-")[0] != kind:
        raise UsageError(
            f"{folder} has candidates for {document.get('target')!r}, not for {kind}",
            wanted="candidates for the device",
            fix="build them for it with tune.py build",
        )
    probe = probe_kind(kind)
    if not probe.devices:
        raise DeviceError(
            f"no {kind} device: {probe.problem}", wanted="one", fix="see ferry doctor"
        )
    backend: Any = open_backend(probe.devices[int(number or 0)], 1)
    try:
        bandwidth = measure_device_bandwidth(backend, 1)
        print(f"{backend.description}: {bandwidth.gb_s:.0f} GB/s, {bandwidth.method}", flush=True)
        products = []
        for entry in document["products"]:
            found = _Runner(backend, folder, entry, repetitions, cold_bytes).results()
            products.append({"name": entry["product"]["name"], "candidates": found})
            _show(entry, found, bandwidth.gb_s)
        return {
            "format": RESULTS, "version": 1, "target": document["target"],
            "device": backend.description, "bandwidth_gb_s": bandwidth.gb_s, "products": products,
        }  # fmt: skip
    finally:
        backend.close()


class _Runner:
    """The inputs of one product on the device, and the library with its candidates."""

    def __init__(
        self, backend: Any, folder: Path, entry: dict[str, Any], repetitions: int, cold_bytes: int
    ) -> None:
        import tvm_ffi

        self._backend, self._repetitions = backend, repetitions
        self._product = TunedProduct(**entry["product"])
        self._candidates = entry["candidates"]
        random = np.random.default_rng(0)
        weights, x = self._product.weights(random), self._product.activations(random)
        self._rest = self._product.others(random)
        self._expected = self._product.expected(x, weights, self._rest)
        with backend.calling():
            self._library = tvm_ffi.load_module(str(folder / entry["library"]))
            first = [backend.upload(array) for array in weights]
            size_bytes = self._product.bytes_moved
            self._copies = cold_copies(backend, first, size_bytes, cold_bytes)
            self._x = [backend.upload(array) for array in x]
            self._others = [backend.upload(array) for array in self._rest]
            self._spoiled = [
                np.full(shape, 0x5A, dtype) for shape, dtype in self._product.results()
            ]
            self._results = [backend.upload(array) for array in self._spoiled]

    def results(self) -> list[dict[str, Any]]:
        """Return the candidates with their errors, and times where results are right."""
        found = []
        for candidate in self._candidates:
            if candidate["dropped"] is None:
                with self._backend.calling():
                    candidate = {**candidate, **self._measured(candidate["function"])}
            found.append(candidate)
        return found

    def _measured(self, name: str) -> dict[str, float]:
        function, backend = self._library[name], self._backend

        def launch(weights: list[Any]) -> None:
            function(*self._x, *weights, *self._others, *self._results)

        for tensor, spoiled in zip(self._results, self._spoiled, strict=True):
            backend.overwrite(tensor, spoiled)
        launch(self._copies[0])
        found = [backend.download(tensor) for tensor in self._results]
        error = self._product.error(found, self._expected, self._rest)
        if not error <= LARGEST_ERROR:
            return {"error": error}
        us = microseconds(backend, launch, self._copies, self._repetitions)
        return {"error": error, "us": us}


def _show(entry: dict[str, Any], found: list[dict[str, Any]], limit_gb_s: float) -> None:
    product = TunedProduct(**entry["product"])
    timed = sorted((one for one in found if "us" in one), key=lambda one: float(one["us"]))
    wrong = [one for one in found if "error" in one and "us" not in one]
    print(f"== {product.name}: {len(timed)} timed, {len(wrong)} wrong", flush=True)
    shown = timed[:5] + [one for one in found[:1] if one not in timed[:5]]
    for one in shown:
        gb_s = product.bytes_moved / one["us"] / 1e3 if "us" in one else 0.0
        now = "  <- today" if one is found[0] else ""
        print(
            f"  {one.get('us', 0):9.2f} us {gb_s:8.1f} GB/s {100 * gb_s / limit_gb_s:5.1f} %  "
            f"{list(one['tile'].values())}{now}"
        )
    for one in wrong:
        print(f"  wrong ({one['error']:.2g}): {list(one['tile'].values())}")
