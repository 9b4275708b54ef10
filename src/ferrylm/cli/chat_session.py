"""The state of a conversation and the commands that change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING

from ferrylm.cli.answer import Taken, take_answer
from ferrylm.cli.hints import fix_for
from ferrylm.cli.output import Output
from ferrylm.cli.sampling import Sampling
from ferrylm.errors import FerryError, UsageError

if TYPE_CHECKING:
    from ferrylm.runtime.model import LanguageModel

HELP = """\
/help            this list
/exit            end the conversation (so does Ctrl-D)
/reset           forget the conversation, keep the system message
/system TEXT     begin a new conversation with this system message; without TEXT: with none
/set             show the settings
/set NAME=VALUE  change one: temp, top_k, top_p, min_p, repeat_penalty, seed, max_tokens, stop
/stats           times of the last answer and tokens of the session"""


class ChatSession:
    """One conversation with one model."""

    def __init__(
        self, model: LanguageModel, output: Output, sampling: Sampling, system: str | None
    ) -> None:
        self.messages: list[dict[str, str]] = []
        self.sampling = sampling
        self._model = model
        self._output = output
        self._system = system
        self._last: Taken | None = None
        self._answers = self._tokens = 0
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: self._say(HELP),
            "/reset": lambda _: self._reset(),
            "/system": self._set_system,
            "/set": self._set,
            "/stats": lambda _: self._stats(),
        }
        self._reset()

    def handle(self, line: str) -> bool:
        """Answer a line or obey a command; return whether to go on.

        Raises FerryError, after which the conversation is as it was before the line.
        """
        text = line.strip()
        if text.startswith("/"):
            return self._obey(text)
        if text:
            self._answer(text)
        return True

    def _obey(self, text: str) -> bool:
        name, _, argument = text.partition(" ")
        if name in ("/exit", "/quit", "/bye"):
            return False
        if name not in self._commands:
            known = [*self._commands, "/exit"]
            raise UsageError(
                f"the unknown command {ascii(name)[:80]}",
                wanted="one of " + ", ".join(known),
                fix=fix_for(name, known),
            )
        self._commands[name](argument.strip())
        return True

    def _answer(self, text: str) -> None:
        question = {"role": "user", "content": text}
        stream = self._model.stream(
            [*self.messages, question],
            options=self.sampling.options(),
            max_tokens=self.sampling.max_tokens,
            stop=self.sampling.stop,
        )
        try:
            taken = take_answer(stream, self._write)
        except FerryError:
            self._write("\n")
            raise
        self.messages += [question, {"role": "assistant", "content": taken.text}]
        self._last = taken
        self._answers += 1
        self._tokens += taken.answer_tokens
        if self._output.as_json:
            document = {"role": "assistant", "content": taken.text, **taken.document()}
            self._output.json_line(document)
        else:
            self._output.data("")
            self._output.note(taken.timing_line(self._model.context_length))

    def _write(self, piece: str) -> None:
        if not self._output.as_json:
            self._output.data(piece, end="")

    def _say(self, text: str) -> None:
        """Show what the program itself says: to stderr, so that stdout holds only answers."""
        self._output.stderr().print(text, soft_wrap=True)

    def _reset(self) -> None:
        self.messages = []
        if self._system is not None:
            self.messages.append({"role": "system", "content": self._system})

    def _set_system(self, text: str) -> None:
        self._system = text or None
        self._reset()

    def _set(self, text: str) -> None:
        if not text:
            for field in fields(self.sampling):
                value = getattr(self.sampling, field.name)
                self._say(f"{field.name} = {'the default' if value in (None, ()) else value}")
            return
        name, equals, value = text.partition("=")
        if not equals:
            name, _, value = text.partition(" ")
        self.sampling = self.sampling.changed(name, value.strip())

    def _stats(self) -> None:
        if self._last is None:
            self._say("no answer yet")
            return
        self._say(self._last.timing_line(self._model.context_length))
        self._say(f"first token after {self._last.timings.first_token_ms / 1e3:.2f} s")
        self._say(f"{self._answers} answers with {self._tokens} tokens in this session")
