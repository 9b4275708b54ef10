"""Open an engine whose kernels can be timed."""

from __future__ import annotations

from dataclasses import dataclass

from ferrylm.errors import MemoryLimitError, UsageError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.backends import open_backend
from ferrylm.runtime.device_bandwidth import DeviceBandwidth, measure_device_bandwidth
from ferrylm.runtime.engine import Engine
from ferrylm.runtime.engine_plan import EnginePlan, plan_engine
from ferrylm.runtime.kernel_times import KernelTimer
from ferrylm.runtime.kernel_traffic import Argument, Tables
from ferrylm.runtime.machine import choose_here
from ferrylm.runtime.observed_backend import ObservedBackend
from ferrylm.runtime.progress import ProgressCallback, ignore_progress


@dataclass(frozen=True)
class ObservedEngine:
    """An engine, what it was planned to be, and the timer of its kernels."""

    engine: Engine
    plan: EnginePlan
    timer: KernelTimer
    bandwidth: DeviceBandwidth | None
    bandwidth_problem: str | None  # why it could not be measured

    def close(self) -> None:
        """Give the memory back."""
        self.engine.close()


def open_observed_engine(
    artifact: Artifact,
    *,
    device: str,
    target: str | None,
    threads: int | None,
    context_length: int,
    max_sequences: int,
    progress: ProgressCallback = ignore_progress,
) -> ObservedEngine:
    """Load the model and measure the device's bandwidth.

    Raises what `open_engine` raises, and UsageError for a batch that has no decode function.
    """
    selection, machine = choose_here(artifact.manifest, device=device, target=target)
    batches = selection.library.decode_batches
    if max_sequences not in batches:
        raise UsageError(
            f"a batch of {max_sequences}",
            wanted=f"one that {selection.library.target} has a decode function for: "
            + ", ".join(map(str, batches)),
            fix="choose one of them",
        )
    plan = plan_engine(
        artifact.manifest,
        selection,
        machine.host,
        threads=threads,
        context_length=context_length,
        page_size=None,
        max_sequences=max_sequences,
    )
    artifact.verify_before_use()
    backend = ObservedBackend(open_backend(selection.device, plan.threads))
    engine = Engine(artifact, plan, backend.as_backend(), progress)
    bandwidth, problem = None, None
    try:
        bandwidth = measure_device_bandwidth(backend.below, plan.threads, engine.memory_reader)
    except MemoryLimitError as error:
        problem = str(error)
    model = artifact.manifest.model
    tables = Tables.of(model, plan.library, plan.pages, plan.page_size, plan.context)
    parameters = {Argument(p.dtype, tuple(p.shape)) for p in plan.library.parameters}
    pools = {Argument(tables.pool_dtype, shape) for shape in tables.pools}
    timer = KernelTimer(engine, backend, tables, streamed=frozenset(parameters | pools))
    return ObservedEngine(engine, plan, timer, bandwidth, problem)
