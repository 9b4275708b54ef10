from __future__ import annotations

from pathlib import Path

import pytest

from ferrylm.compile.worker_process import run_module


def test_a_module_of_the_current_folder_takes_no_package_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("print('the wrong one')\n")
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    monkeypatch.chdir(tmp_path)
    done = run_module("json.tool", b'{"a": 1}', {"FERRY_ANY": "1"})
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.split() == [b"{", b'"a":', b"1", b"}"]


def test_the_worker_sees_the_modules_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "answers_from_afar.py").write_text("import sys\nprint(sys.stdin.read() * 2)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run_module("answers_from_afar", b"ab").stdout.split() == [b"abab"]
