"""The command `ferry`: its verbs, its exit codes and the way it shows errors.

Exit codes: 0 done, 1 failed, 2 a request that makes no sense, 130 interrupted by Ctrl-C.
Nothing here or in a verb's module imports tvm before the verb runs, so that `ferry --help` is
quick and works where TVM does not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from ferrylm.cli.bench import bench
from ferrylm.cli.bundle import bundle
from ferrylm.cli.chat import chat
from ferrylm.cli.compile import compile_verb
from ferrylm.cli.doctor import doctor
from ferrylm.cli.failures import report_failure
from ferrylm.cli.hints import fix_for
from ferrylm.cli.inspect import inspect_verb
from ferrylm.cli.output import Output
from ferrylm.cli.report import report
from ferrylm.cli.run import run
from ferrylm.cli.verify import verify
from ferrylm.cli.version import show_version
from ferrylm.errors import UsageError

VERBS: dict[str, click.Command] = {
    "compile": compile_verb,
    "run": run,
    "chat": chat,
    "bench": bench,
    "report": report,
    "verify": verify,
    "inspect": inspect_verb,
    "bundle": bundle,
    "doctor": doctor,
}

_HELP = """Compile a language model once; run it on many machines.

\b
  ferry compile model.gguf -o dist/model --quant q4f16 --target cpu
  ferry run dist/model -p "Why is the sky blue?"
"""


class Application(click.Group):
    """A group of verbs that shows every failure as one line and exits with its code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Keep the verbs in the order in which they are used."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; an unknown one is answered with the one it resembles."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise UsageError(
                f"the unknown verb {name!a}",
                wanted="one of " + ", ".join(self.commands),
                fix=fix_for(name, self.commands),
            )
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        *_: Any,
        **__: Any,
    ) -> NoReturn:
        """Run the command line and exit; takes the signature of click's own `main`."""
        arguments = list(sys.argv[1:] if args is None else args)
        # Known before parsing, because parsing may be what fails.
        output = Output(as_json=_has_flag(arguments, "--json"))
        try:
            code = super().main(
                args=arguments, prog_name=prog_name or "ferry", standalone_mode=False, obj=output
            )
            sys.stdout.flush()
        except BaseException as error:
            code = report_failure(error, output)
        sys.exit(code if isinstance(code, int) else 0)


def _has_flag(arguments: Sequence[str], flag: str) -> bool:
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return flag in options


ferry = Application(
    name="ferry",
    help=_HELP,
    commands=VERBS,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=show_version,
            help="Show the versions of ferry, TVM and its FFI.",
        )
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main() -> NoReturn:
    """Run `ferry` with the arguments of this process."""
    ferry.main()
