"""Write the options of every verb into docs/cli.md, from the same source as `ferry VERB --help`.

With --check nothing is written; the exit code says whether the page is up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ferrylm.cli.application import VERBS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
COMMON = ("json", "quiet", "debug")  # described once, at the top of the page
MARK = "<!-- below: written by scripts/update_cli_docs.py -->"


def options_text() -> str:
    """Return one section for each verb."""
    return "\n".join(_section(name, command) for name, command in VERBS.items())


def _section(name: str, command: click.Command) -> str:
    arguments = [
        parameter.metavar or str(parameter.name).upper()
        for parameter in command.params
        if isinstance(parameter, click.Argument)
    ]
    rows = [
        f"| `{', '.join(option.opts)}`{_values(option)} | {_meaning(option)} |"
        for option in command.params
        if isinstance(option, click.Option) and option.name not in COMMON
    ]
    help_text = " ".join((command.help or "").split())
    usage = " ".join(["ferry", name, *arguments])
    table = "\n".join(["| option | meaning |", "|---|---|", *rows]) + "\n" if rows else ""
    return f"## {usage}\n\n{help_text}\n\n{table}"


def _values(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return " " + ", ".join(str(choice) for choice in option.type.choices)
    return ""


def _meaning(option: click.Option) -> str:
    shown = f" Default: {option.default}." if option.show_default else ""
    return f"{option.help}{shown}"


def updated(page: str) -> str:
    """Return the page with the part below the mark replaced."""
    return f"{page.partition(MARK)[0]}{MARK}\n\n{options_text()}"


if __name__ == "__main__":
    text = PAGE.read_text()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if updated(text) == text else "docs/cli.md: run scripts/update_cli_docs.py")
    PAGE.write_text(updated(text))
