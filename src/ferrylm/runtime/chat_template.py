"""Chat messages to the prompt that a model was trained on, by the model's own Jinja template."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ferrylm.errors import TemplateError, UsageError
from ferrylm.runtime.chat_messages import Message, checked_json, checked_messages
from ferrylm.runtime.template_process import TemplateProcess

if TYPE_CHECKING:
    from ferrylm.runtime.artifact import Artifact

MAX_TEMPLATE_BYTES = 64 << 10
MAX_REQUEST_BYTES = 16 << 20
MAX_ADDED_CHARACTERS = 1 << 20  # a rendering may be this much longer than its messages


class ChatTemplate:
    """A Jinja chat template as Hugging Face writes them.

    Templates are data from strangers. Each runs in Jinja's sandbox, in a process of its own
    with 0.8 s of processor time and 96 MiB, which can open no file and start no process.
    Any thread may call it.
    """

    def __init__(self, text: str, special_tokens: Mapping[str, str] | None = None) -> None:
        """Take a template; `special_tokens` ("bos_token": "<s>", ...) are its variables.

        Raises TemplateError if it is too long.
        """
        size_bytes = len(text.encode(errors="replace"))
        if size_bytes > MAX_TEMPLATE_BYTES:
            raise TemplateError(
                f"a chat template of {size_bytes} bytes",
                wanted=f"at most {MAX_TEMPLATE_BYTES}",
                fix="use another chat template",
            )
        self._text = text
        self._special_tokens = dict(special_tokens or {})
        self._process: TemplateProcess | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the process now, so that the first `render` need not wait for it (0.06 s)."""
        with self._lock:
            self._running()

    def render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, object]] | None = None,
        variables: Mapping[str, object] | None = None,
    ) -> str:
        """Return the prompt of a conversation.

        `add_generation_prompt` appends the beginning of the assistant's answer. `tools` are
        function descriptions (JSON schema) for templates that know them. `variables` are further
        variables of the template, such as enable_thinking.

        Raises UsageError for malformed messages, TemplateError if the template refuses them, is
        malformed, or runs into a limit.
        """
        request = self._request(messages, add_generation_prompt, tools, variables)
        with self._lock:
            try:
                reply = self._running().exchange(request)
            except BaseException:
                self._stop()
                raise
            if "text" not in reply:
                self._stop()  # what is left of a failed rendering would count against the next
        if "text" not in reply:
            raise TemplateError(
                f"the chat template failed: {ascii(reply.get('error', ''))[1:-1][:300]}",
                wanted="messages that the template accepts",
                fix="change the messages' roles or order, or give a plain prompt",
            )
        return reply["text"]

    def close(self) -> None:
        """End the process; a later `render` starts a new one."""
        with self._lock:
            self._stop()

    def _running(self) -> TemplateProcess:
        if self._process is None:
            self._process = TemplateProcess(self._text)
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def _request(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool,
        tools: Sequence[Mapping[str, object]] | None,
        variables: Mapping[str, object] | None,
    ) -> dict[str, object]:
        fixed: dict[str, object] = {
            **self._special_tokens,
            "messages": checked_messages(messages),
            "add_generation_prompt": add_generation_prompt,
            "tools": checked_json("tools", tools),
            "documents": None,
        }
        extra = checked_json("variables", dict(variables or {}))
        assert isinstance(extra, dict)
        for name in extra:
            if name in fixed:
                raise UsageError(
                    f"the template variable {name!a}",
                    wanted="a name the runtime does not set itself",
                    fix="pass messages and tools by their own parameters",
                )
        size = len(json.dumps([fixed, extra]))
        if size > MAX_REQUEST_BYTES:
            raise UsageError(
                f"messages of {size} bytes",
                wanted=f"at most {MAX_REQUEST_BYTES}",
                fix="shorten them",
            )
        return {"variables": {**extra, **fixed}, "most_characters": size + MAX_ADDED_CHARACTERS}


def load_chat_template(artifact: Artifact) -> ChatTemplate | None:
    """Load an artifact's chat template; None if it has none. Raises IntegrityError."""
    entry = artifact.manifest.tokenizer
    if entry is None or entry.chat_template is None:
        return None
    data = artifact.read_verified(entry.chat_template, MAX_TEMPLATE_BYTES)
    return ChatTemplate(data.decode("utf-8", errors="replace"), entry.special_tokens)
