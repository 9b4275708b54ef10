"""A machine that cannot run an artifact is refused before a file of it is opened as code."""

from __future__ import annotations

from pathlib import Path

import pytest
from wrong_machines import WRONG_MACHINES, WrongMachine, pretending, write_artifact

from ferrylm.errors import FerryError
from ferrylm.runtime.artifact import Artifact
from ferrylm.runtime.engine import open_engine


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong") / "artifact"
    write_artifact(folder)
    return folder


def test_the_table_has_cells_enough_for_every_kind_of_device() -> None:
    kinds = [cell.device.partition(":")[0] for cell in WRONG_MACHINES]
    assert all(kinds.count(kind) >= 10 for kind in ("cuda", "rocm", "vulkan"))
    assert len({cell.name for cell in WRONG_MACHINES}) == len(WRONG_MACHINES)


@pytest.mark.parametrize("cell", WRONG_MACHINES, ids=lambda cell: cell.name)
def test_it_is_refused_with_found_wanted_and_remedy(
    cell: WrongMachine, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object, **__: object) -> None:
        pytest.fail("a library or a device was opened")

    for name in ("open_backend", "Executable", "load_parameters"):
        monkeypatch.setattr(f"ferrylm.runtime.engine.{name}", opened)
    monkeypatch.setattr(Artifact, "verify_before_use", opened)
    monkeypatch.setattr(Artifact, "library_path", opened)
    with (
        pretending(cell.machine),
        Artifact.open(artifact) as found,
        pytest.raises(FerryError) as caught,
    ):
        open_engine(found, device=cell.device)
    assert cell.found in caught.value.found
    assert caught.value.wanted
    assert cell.fix in caught.value.fix
    assert "\n" not in str(caught.value)
