from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "scripts"
SHELL = sorted([*SCRIPTS.glob("*.sh"), ROOT / ".ci" / "run"])


def bash(
    code: str, scripts: Path = SCRIPTS, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail; source {scripts}/environment.sh; {code}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_every_script_parses(script: Path) -> None:
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["demo.sh", "test.sh"])
def test_scripts_that_are_called_stop_at_the_first_error(name: str) -> None:
    script = SCRIPTS / name
    assert os.access(script, os.X_OK)
    assert "\nset -euo pipefail\n" in script.read_text()


def test_ci_runs_what_a_developer_runs() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "scripts/test.sh" in (ROOT / ".ci" / "run").read_text()


def test_a_python_that_is_too_old_is_refused_with_what_to_do(tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = bash("find_python", FERRY_PYTHON=str(old))
    assert done.returncode == 1
    assert done.stderr.startswith("error: no Python 3.10 or newer")
    assert "FERRY_PYTHON" in done.stderr


def test_a_named_python_is_taken() -> None:
    done = bash("find_python", FERRY_PYTHON=sys.executable)
    assert done.stdout == f"{sys.executable}\n"


def fake_environment(folder: Path, log: Path) -> Path:
    """Make a virtual environment whose Python only writes down what it is asked."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    python.chmod(0o755)
    return folder


def test_what_is_installed_already_is_not_installed_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    venv = fake_environment(tmp_path / "venv", log)
    first = bash("ensure_environment demo", FERRY_VENV=str(venv))
    assert first.returncode == 0, first.stderr
    assert "install -e" in log.read_text()
    log.unlink()
    second = bash("ensure_environment demo", FERRY_VENV=str(venv))
    assert "is up to date" in second.stdout
    assert not log.exists()


def test_a_failed_installation_is_tried_again(tmp_path: Path) -> None:
    venv = fake_environment(tmp_path / "venv", tmp_path / "log")
    python = venv / "bin" / "python"
    works = python.read_text()
    python.write_text("#!/bin/sh\nexit 1\n")
    failed = bash("ensure_environment demo", FERRY_VENV=str(venv))
    assert failed.returncode == 1
    assert "error: pip could not install" in failed.stderr
    python.write_text(works)
    assert "installing" in bash("ensure_environment demo", FERRY_VENV=str(venv)).stdout


def test_an_artifact_is_compiled_again_only_when_its_inputs_change(tmp_path: Path) -> None:
    (tmp_path / "src" / "ferrylm").mkdir(parents=True)
    source = tmp_path / "src" / "ferrylm" / "x.py"
    source.write_text("one")
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "scripts" / "environment.sh").write_bytes((SCRIPTS / "environment.sh").read_bytes())
    (tmp_path / "model.gguf").write_text("model")
    ferry = tmp_path / ".venv" / "bin" / "ferry"
    ferry.parent.mkdir(parents=True)
    ferry.write_text(
        '#!/bin/sh\n[ "$1" = --version ] || { mkdir -p "$4"; echo {} > "$4/manifest.json"; }\n'
    )
    ferry.chmod(0o755)

    def ensure(kind: str = "demo") -> str:
        code = f"MODEL=$ROOT/model.gguf; ensure_{kind}_artifact"
        done = bash(code, scripts=tmp_path / "scripts", FERRY_VENV=str(tmp_path / ".venv"))
        assert done.returncode == 0, done.stderr
        return "compiled" if "compiling" in done.stdout else "kept"

    assert [ensure(), ensure()] == ["compiled", "kept"]
    assert [ensure("test"), ensure("test"), ensure()] == ["compiled", "kept", "kept"]
    source.write_text("two")
    assert [ensure(), ensure()] == ["compiled", "kept"]
    (tmp_path / "dist" / "smollm2-135m-q4f16" / "manifest.json").unlink()
    assert [ensure(), ensure()] == ["compiled", "kept"]


def test_the_development_packages_are_those_of_the_project() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / "dev_packages.py"], capture_output=True, text=True, check=True
    )
    packages = done.stdout.splitlines()
    assert any(package.startswith("pytest>=") for package in packages)
    assert any(package.startswith("mypy>=") for package in packages)
    # They are passed on as words, so none may hold a blank or a wildcard.
    assert all(" " not in package and "*" not in package for package in packages)
