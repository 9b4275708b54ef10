from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_fakes import Ferry

from ferrylm.cli import application, failures
from ferrylm.cli.hints import closest
from ferrylm.cli.output import Output
from ferrylm.errors import FerryError, IntegrityError, UsageError

SOURCE = Path(application.__file__).parents[2]


def in_child(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["bogus"]])
def test_help_and_usage_errors_import_neither_tvm_nor_numpy(arguments: list[str]) -> None:
    code = f"""
import sys
from ferrylm.cli import application
try:
    application.ferry.main({arguments!r})
except SystemExit:
    pass
heavy = {{"tvm", "tvm_ffi", "numpy", "tokenizers", "jinja2"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    done = in_child(code)
    assert done.returncode == 0, done.stderr


def test_help_lists_every_verb(ferry: Ferry) -> None:
    ended = ferry("--help")
    assert ended.code == 0
    for verb in ("compile", "run", "chat", "bench", "verify", "inspect", "doctor"):
        assert f"  {verb} " in ended.stdout


@pytest.mark.parametrize("verb", list(application.VERBS))
def test_every_verb_has_help_and_the_common_options(ferry: Ferry, verb: str) -> None:
    ended = ferry(verb, "--help")
    assert ended.code == 0
    for option in ("--json", "--quiet", "--debug"):
        assert option in ended.stdout


def test_version_names_ferry_tvm_and_its_ffi(ferry: Ferry) -> None:
    ended = ferry("--version")
    assert ended.code == 0
    assert ended.stdout.startswith("ferry 0.")
    assert "tvm 0.27" in ended.stdout
    assert "tvm-ffi 0." in ended.stdout


def test_an_unknown_verb_is_a_usage_error_with_a_hint(ferry: Ferry) -> None:
    ended = ferry("instpect", "x")
    assert ended.code == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: the unknown verb 'instpect'; wanted one of compile, ")
    assert ended.stderr.endswith("did you mean inspect?\n")


def test_a_verb_that_resembles_nothing_gets_no_guess(ferry: Ferry) -> None:
    assert "did you mean" not in ferry("qqqqqq").stderr


@pytest.mark.parametrize(
    "arguments",
    [["run"], ["run", "x", "--bogus"], ["bench", "x", "-r", "many"], ["run", "x", "-t", "0"]],
)
def test_a_bad_command_line_is_one_line_and_exit_code_2(ferry: Ferry, arguments: list[str]) -> None:
    ended = ferry(*arguments)
    assert ended.code == 2
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert f"`ferry {arguments[0]} --help`" in ended.stderr


def test_a_usage_error_with_json_is_a_document_on_stdout(ferry: Ferry) -> None:
    ended = ferry("bench", "x", "--json", "--bogus")
    assert ended.code == 2
    assert ended.document["error"]["code"] == "UsageError"
    assert "--bogus" in ended.document["error"]["found"]


def test_an_error_with_json_has_found_wanted_and_fix(ferry: Ferry, tmp_path: Path) -> None:
    ended = ferry("inspect", str(tmp_path / "nothing"), "--json")
    assert ended.code == 1
    error = ended.document["error"]
    assert set(error) == {"code", "message", "found", "wanted", "fix"}
    assert error["code"] == "ArtifactError"
    assert error["message"] == f"{error['found']}; wanted {error['wanted']}; {error['fix']}"
    assert ended.stderr.startswith("error: ")


def test_json_after_two_dashes_is_no_option() -> None:
    assert application._has_flag(["run", "--json"], "--json")
    assert not application._has_flag(["run", "--", "--json"], "--json")


@click.command()
def broken() -> None:
    raise KeyError("layer\n7")


def test_an_unexpected_error_asks_for_a_report(
    ferry: Ferry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(application.ferry.commands, "doctor", broken)
    ended = ferry("doctor")
    assert ended.code == 1
    assert ended.stderr.startswith("error: unexpected KeyError: 'layer\\n7'; ")
    assert "please report it; run again with --debug" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    assert failures.report_failure(caught.value, Output(debug=True)) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_debug_after_the_verb_reaches_the_error(ferry: Ferry, tmp_path: Path) -> None:
    assert "Traceback" in ferry("inspect", str(tmp_path), "--debug").stderr
    assert "Traceback" not in ferry("inspect", str(tmp_path)).stderr


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (IntegrityError("a", wanted="b", fix="c"), 1, "error: a; wanted b; c\n"),
        (UsageError("a\nb", wanted="b", fix="c"), 2, "error: a b; wanted b; c\n"),
        (OSError(28, "No space left on device", "/x"), 1, "No space left on device (/x)"),
        (ModuleNotFoundError("no", name="safetensors"), 1, "module safetensors is not installed"),
        (ModuleNotFoundError("no", name="ferrylm.x"), 1, "please report it"),
        (MemoryError(), 1, "no memory left"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
    ],
)
def test_each_kind_of_failure_has_its_code(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failures.report_failure(error, Output()) == code
    written = capsys.readouterr()
    assert text in written.err
    assert (written.err == "") == (text == "")
    assert written.out == ""


def test_errors_of_a_long_sentence_stay_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    failures.report_failure(FerryError("x " * 400, wanted="y", fix="[red]z[/red]"), Output())
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert "[red]z[/red]" in written


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    code = """
import sys
from ferrylm.cli import application
import click
@click.command()
def flood():
    for _ in range(100000):
        sys.stdout.write("x" * 100 + chr(10))
application.ferry.commands["doctor"] = flood
application.ferry.main(["doctor"])
"""
    script = tmp_path / "flood.py"
    script.write_text(code)
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} {script} | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    first, code_text = done.stdout.splitlines()
    assert first == "x" * 100
    assert code_text == "1"
    assert done.stderr == ""


def test_no_color_and_pipes_get_plain_text(tmp_path: Path) -> None:
    code = "from ferrylm.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "NO_COLOR": "1"},
    )
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert done.stderr.startswith("error: ")


def test_the_closest_name_is_found_whatever_its_case() -> None:
    known = ["cpu-x86-64-v3", "cpu-x86-64-v4", "cpu-aarch64"]
    assert closest("CPU-x86-64-v3", known) == "cpu-x86-64-v3"
    assert closest("cpu-arch64", known) == "cpu-aarch64"
    assert closest("zzz", known) is None


def test_json_documents_keep_letters_of_all_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    Output().json({"text": "grüße 你好"})
    assert "grüße 你好" in (text := capsys.readouterr().out)
    assert json.loads(text) == {"text": "grüße 你好"}
