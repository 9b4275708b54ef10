"""A loaded language model: text in, text out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from collections.abc import Sequence as SequenceOf
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

from ferrylm.errors import TemplateError, UsageError
from ferrylm.runtime.chat_messages import Message
from ferrylm.runtime.chat_template import ChatTemplate, load_chat_template
from ferrylm.runtime.generation import (
    Answer,
    Generation,
    GenerationRequest,
    TextStream,
    run_batch,
)
from ferrylm.runtime.manifest import GenerationDefaults
from ferrylm.runtime.progress import ProgressCallback, ignore_progress
from ferrylm.runtime.prompt_limits import checked_token_ids, room_for_answer
from ferrylm.runtime.sampling_options import SamplingOptions, resolve_options
from ferrylm.runtime.stepper import SerialStepper, Stepper
from ferrylm.runtime.stop_strings import checked_stops
from ferrylm.runtime.tokenizer import Tokenizer, load_tokenizer

Prompt: TypeAlias = str | SequenceOf[Message]


class LanguageModel:
    """A model that answers.

    Any thread may call it; the model itself works on one step at a time. Use it as a context
    manager, or call `close`.
    """

    def __init__(
        self,
        stepper: Stepper[Any],
        tokenizer: Tokenizer,
        chat_template: ChatTemplate | None = None,
        defaults: GenerationDefaults | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """Put the parts together; `load` is the usual way to get here."""
        self.stepper = stepper
        self.tokenizer = tokenizer
        self.chat_template = chat_template
        self._serial = SerialStepper(stepper)
        self._defaults = defaults or GenerationDefaults()
        self._on_close = on_close
        self._closed = False

    @property
    def context_length(self) -> int:
        """Return how many tokens prompt and answer may have together."""
        return self._serial.context_length

    def generate(
        self,
        prompt: Prompt | None = None,
        *,
        messages: SequenceOf[Message] | None = None,
        token_ids: SequenceOf[int] | None = None,
        options: SamplingOptions | None = None,
        max_tokens: int | None = None,
        stop: str | SequenceOf[str] = (),
        ignore_eos: bool = False,
        template_variables: Mapping[str, object] | None = None,
    ) -> Generation:
        """Return a whole answer; the parameters and errors are those of `stream`."""
        with self.stream(
            prompt,
            messages=messages,
            token_ids=token_ids,
            options=options,
            max_tokens=max_tokens,
            stop=stop,
            ignore_eos=ignore_eos,
            template_variables=template_variables,
        ) as stream:
            return stream.collect()

    def stream(
        self,
        prompt: Prompt | None = None,
        *,
        messages: SequenceOf[Message] | None = None,
        token_ids: SequenceOf[int] | None = None,
        options: SamplingOptions | None = None,
        max_tokens: int | None = None,
        stop: str | SequenceOf[str] = (),
        ignore_eos: bool = False,
        template_variables: Mapping[str, object] | None = None,
    ) -> TextStream:
        """Return an iterator over the chunks of an answer.

        Exactly one of the three is the prompt: a text that the answer goes on with (`prompt`, a
        str), a conversation (`messages`, or a list as `prompt`), or `token_ids` as they are.
        `max_tokens` defaults to what the context has left. The answer ends before the first of
        the `stop` texts. `ignore_eos` goes on where the model would end. `template_variables`
        go to the chat template.

        Everything is checked before anything is computed. Raises UsageError, TemplateError,
        TokenizerError, ContextOverflowError (prompt and max_tokens against the context), and
        from the iterator NumericError and the engine's errors.
        """
        started = time.perf_counter()
        given = sum(value is not None for value in (prompt, messages, token_ids))
        if given != 1 or isinstance(messages, str):
            raise UsageError(
                f"{given} of prompt, messages and token_ids",
                wanted="exactly one of them",
                fix="pass one prompt",
            )
        if token_ids is not None:
            prompt_ids, continues = token_ids, True
        else:
            conversation = messages if prompt is None else prompt
            prompt_ids, continues = self._prompt_ids(conversation, template_variables)
        answer = self._answer(started, prompt_ids, continues, options, max_tokens, stop, ignore_eos)
        return TextStream(self._serial, answer)

    def generate_batch(
        self,
        prompts: SequenceOf[Prompt],
        *,
        options: SamplingOptions | None = None,
        max_tokens: int | None = None,
        stop: str | SequenceOf[str] = (),
        ignore_eos: bool = False,
    ) -> list[Generation]:
        """Return the answers to several prompts, decoded together, in the order of the prompts.

        Each answer is what `generate` gives with the same parameters, the seed included. The
        errors are those of `stream`; one prompt's error ends the whole batch.
        """
        started = time.perf_counter()
        answers = [
            self._answer(
                started, *self._prompt_ids(prompt, None), options, max_tokens, stop, ignore_eos
            )
            for prompt in prompts
        ]
        return run_batch(self._serial, answers)

    def tokenize(
        self, text: str, *, add_special_tokens: bool = True, parse_special: bool = True
    ) -> list[int]:
        """Return the token ids of a text; see `Tokenizer.encode`."""
        return self.tokenizer.encode(
            text, add_special_tokens=add_special_tokens, parse_special=parse_special
        )

    def detokenize(self, token_ids: SequenceOf[int], *, skip_special: bool = True) -> str:
        """Return the text of token ids; see `Tokenizer.decode`."""
        return self.tokenizer.decode(token_ids, skip_special=skip_special)

    def apply_chat_template(
        self,
        messages: SequenceOf[Message],
        *,
        add_generation_prompt: bool = True,
        tools: SequenceOf[Mapping[str, object]] | None = None,
        variables: Mapping[str, object] | None = None,
    ) -> str:
        """Return the prompt text of a conversation; see `ChatTemplate.render`.

        Tokenize it with `add_special_tokens=False`: the template writes bos itself.
        """
        if self.chat_template is None:
            raise TemplateError(
                "a model without a chat template",
                wanted="a model that was trained for conversations",
                fix="give a plain prompt instead of messages",
            )
        return self.chat_template.render(
            messages,
            add_generation_prompt=add_generation_prompt,
            tools=tools,
            variables=variables,
        )

    def close(self) -> None:
        """Free the model's memory; harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        if self.chat_template is not None:
            self.chat_template.close()
        if self._on_close is not None:
            self._on_close()

    def __enter__(self) -> LanguageModel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _prompt_ids(
        self, prompt: Prompt | None, variables: Mapping[str, object] | None
    ) -> tuple[list[int], bool]:
        """Return a prompt's ids, and whether the answer goes on with the prompt's own text."""
        self._check_open()
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt), True
        text = self.apply_chat_template(prompt or (), variables=variables)
        return self.tokenizer.encode(text, add_special_tokens=False), False

    def _answer(
        self,
        started: float,
        prompt_ids: SequenceOf[int],
        continues: bool,
        options: SamplingOptions | None,
        max_tokens: int | None,
        stop: str | SequenceOf[str],
        ignore_eos: bool,
    ) -> Answer:
        self._check_open()
        vocab_size = self._serial.vocab_size
        checked_ids = checked_token_ids(prompt_ids, vocab_size)
        request = GenerationRequest(
            prompt_ids=checked_ids,
            settings=resolve_options(options or SamplingOptions(), self._defaults, vocab_size),
            max_tokens=room_for_answer(len(checked_ids), max_tokens, self.context_length),
            stop=checked_stops(stop),
            end_ids=frozenset() if ignore_eos else self.tokenizer.eos_token_ids,
            continues=continues,
            started=started,
        )
        return Answer(request, self.tokenizer, vocab_size)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("a model that is closed", wanted="an open one", fix="load it again")


def load(
    path: str | os.PathLike[str],
    device: str = "auto",
    *,
    target: str | None = None,
    threads: int | None = None,
    context_length: int | None = None,
    page_size: int | None = None,
    max_sequences: int = 1,
    progress: ProgressCallback = ignore_progress,
) -> LanguageModel:
    """Load an artifact and make it ready to answer.

    `device` is auto, cpu, cuda, vulkan or rocm; `target` names one library of the artifact.
    `threads` defaults to what suits the machine, `context_length` to the model's own.
    `max_sequences` is how many answers may grow at the same time, each with memory of its own.

    Raises ArtifactError, IntegrityError, NoLibraryError, DeviceError, MemoryLimitError,
    TokenizerError, TemplateError, UsageError, each before any damage.
    """
    from ferrylm.runtime.artifact import Artifact
    from ferrylm.runtime.engine import open_engine

    with ExitStack() as opened:
        artifact = opened.enter_context(Artifact.open(Path(path)))
        chat_template = load_chat_template(artifact)
        if chat_template is not None:
            opened.callback(chat_template.close)
            chat_template.start()  # it comes up while the weights are read
        tokenizer = load_tokenizer(artifact)
        engine = open_engine(
            artifact,
            device=device,
            target=target,
            threads=threads,
            context_length=context_length,
            page_size=page_size,
            max_sequences=max_sequences,
            progress=progress,
        )
        opened.callback(engine.close)
        defaults = artifact.manifest.generation
        return LanguageModel(
            engine, tokenizer, chat_template, defaults, on_close=opened.pop_all().close
        )
