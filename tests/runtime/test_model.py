"""The language model's public face: how prompts are given, and what loading puts together."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from text_fakes import END, FakeStepper, byte_level_backend, scripted_model

import ferrylm
from ferrylm.errors import FerryError, TemplateError, TokenizerError, UsageError
from ferrylm.runtime import model as model_module
from ferrylm.runtime.chat_template import ChatTemplate
from ferrylm.runtime.manifest import GenerationDefaults
from ferrylm.runtime.model import LanguageModel
from ferrylm.runtime.sampling_options import SamplingOptions
from ferrylm.runtime.tokenizer import Tokenizer

BACKEND = byte_level_backend()
END_ID = BACKEND.token_to_id(END)
TOKENIZER = Tokenizer(BACKEND.to_str(), eos_token_ids=[END_ID])
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}{{ extra }}"
USER = [{"role": "user", "content": "hi"}]


@pytest.fixture
def stepper() -> FakeStepper:
    return FakeStepper(scripted_model(352, 0, [END_ID]), 352)


@pytest.fixture
def model(stepper: FakeStepper) -> Iterator[LanguageModel]:
    with LanguageModel(stepper, TOKENIZER, ChatTemplate(TEMPLATE)) as made:
        yield made


def test_a_conversation_is_templated_and_its_special_tokens_are_tokens(
    model: LanguageModel, stepper: FakeStepper
) -> None:
    wanted = BACKEND.encode("user: hi<|end|>", add_special_tokens=False).ids
    assert END_ID in wanted
    model.generate(messages=USER)
    model.generate(USER)
    assert [sequence.ids for sequence in stepper.sequences] == [wanted, wanted]
    model.generate(USER, template_variables={"extra": "!"})
    assert stepper.sequences[-1].ids == [*wanted, *BACKEND.encode("!").ids]


def test_a_batch_mixes_texts_and_conversations(model: LanguageModel, stepper: FakeStepper) -> None:
    model.generate_batch(["hi", USER])
    assert BACKEND.encode("hi").ids in [sequence.ids for sequence in stepper.sequences]


@pytest.mark.parametrize(
    "prompts",
    [{}, {"prompt": "a", "messages": USER}, {"prompt": "a", "token_ids": [1]},
     {"prompt": USER, "messages": USER}, {"messages": USER, "token_ids": [1]}],
)  # fmt: skip
def test_exactly_one_prompt_is_wanted(model: LanguageModel, prompts: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{len(prompts)} of prompt"):
        model.generate(**prompts)


@pytest.mark.parametrize("wrong", [{"prompt": 5}, {"prompt": b"hi"}, {"messages": "hi"}])
def test_a_prompt_of_another_type_is_refused(model: LanguageModel, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        model.generate(**wrong)


def test_an_empty_conversation_is_refused(model: LanguageModel) -> None:
    with pytest.raises(UsageError, match="0 messages"):
        model.generate([])


def test_messages_without_a_chat_template_are_refused(stepper: FakeStepper) -> None:
    with pytest.raises(TemplateError, match="without a chat template"):
        LanguageModel(stepper, TOKENIZER).generate(USER)


def test_options_are_checked_before_anything_is_computed(
    model: LanguageModel, stepper: FakeStepper
) -> None:
    with pytest.raises(UsageError, match="351"):
        model.stream("hi", options=SamplingOptions(logit_bias={352: 1.0}))
    with pytest.raises(UsageError, match="stop"):
        model.stream("hi", stop=[""])
    assert stepper.sequences == []


def test_the_makers_settings_are_used(stepper: FakeStepper) -> None:
    bad = GenerationDefaults(repetition_penalty=0.0)
    with pytest.raises(UsageError, match="repetition_penalty"):
        LanguageModel(stepper, TOKENIZER, defaults=bad).generate("hi")


def test_tokens_go_there_and_back(model: LanguageModel) -> None:
    ids = model.tokenize("the cat 😀")
    assert model.detokenize(ids) == "the cat 😀"
    assert model.apply_chat_template(USER) == "user: hi<|end|>"
    assert END_ID not in model.tokenize("<|end|>", parse_special=False)


def test_a_closed_model_is_refused_and_closing_twice_is_harmless(stepper: FakeStepper) -> None:
    closed = []
    made = LanguageModel(stepper, TOKENIZER, on_close=lambda: closed.append(1))
    made.close()
    made.close()
    assert closed == [1]
    for call in (made.generate, made.stream):
        with pytest.raises(UsageError, match="closed"):
            call("hi")
    with pytest.raises(UsageError, match="closed"):
        made.stream(token_ids=[1])


def test_generate_takes_what_stream_takes() -> None:
    generate = inspect.signature(LanguageModel.generate).parameters
    stream = inspect.signature(LanguageModel.stream).parameters
    assert list(generate.values()) == list(stream.values())


class FakeArtifact:
    """Counts how often it is closed."""

    closed = 0

    class manifest:
        generation = GenerationDefaults(temperature=0.0)

    @classmethod
    def open(cls, path: Path) -> FakeArtifact:
        assert isinstance(path, Path)
        return cls()

    def __enter__(self) -> FakeArtifact:
        return self

    def __exit__(self, *_: object) -> None:
        FakeArtifact.closed += 1


class FakeEngine(FakeStepper):
    """A stepper with the engine's close."""

    closed = 0

    def close(self) -> None:
        FakeEngine.closed += 1


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace what load puts together; the engine's arguments are noted."""
    noted: dict[str, Any] = {}
    template = ChatTemplate(TEMPLATE)

    def open_engine(artifact: object, **arguments: Any) -> FakeEngine:
        noted.update(arguments)
        if arguments["device"] == "broken":
            raise MemoryError
        return FakeEngine(scripted_model(352, 0, [END_ID]), 352)

    artifact_module = ModuleType("ferrylm.runtime.artifact")
    artifact_module.Artifact = FakeArtifact  # type: ignore[attr-defined]
    engine_module = ModuleType("ferrylm.runtime.engine")
    engine_module.open_engine = open_engine  # type: ignore[attr-defined]
    for module in (artifact_module, engine_module):
        monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    monkeypatch.setattr(model_module, "load_tokenizer", lambda artifact: TOKENIZER)
    monkeypatch.setattr(model_module, "load_chat_template", lambda artifact: template)
    FakeArtifact.closed = FakeEngine.closed = 0
    noted["template"] = template
    return noted


def test_load_passes_the_engine_what_it_is_given(parts: dict[str, Any]) -> None:
    with ferrylm.load("folder", "cpu", threads=2, context_length=99, target="t") as model:
        assert (parts["device"], parts["threads"], parts["target"]) == ("cpu", 2, "t")
        assert (parts["context_length"], parts["max_sequences"]) == (99, 1)
        assert model.generate(USER).finish_reason == "stop"
        assert (FakeArtifact.closed, FakeEngine.closed) == (0, 0)
    assert (FakeArtifact.closed, FakeEngine.closed) == (1, 1)
    assert parts["template"]._process is None


def test_a_load_that_fails_closes_what_was_open(parts: dict[str, Any]) -> None:
    with pytest.raises(MemoryError):
        ferrylm.load("folder", "broken")
    assert FakeArtifact.closed == 1
    assert parts["template"]._process is None


def test_a_tokenizer_that_fails_closes_what_was_open(
    parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(artifact: object) -> Tokenizer:
        raise TokenizerError("a", wanted="b", fix="c")

    monkeypatch.setattr(model_module, "load_tokenizer", failing)
    with pytest.raises(TokenizerError):
        ferrylm.load("folder")
    assert FakeArtifact.closed == 1
    assert parts["template"]._process is None


def test_the_package_offers_what_it_says() -> None:
    for name in ferrylm.__all__:
        assert getattr(ferrylm, name) is not None
    assert set(ferrylm.__all__) <= set(dir(ferrylm))
    assert ferrylm.FerryError is FerryError
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        ferrylm.nothing_of_the_kind  # noqa: B018


def test_the_package_has_the_version_of_the_project_file() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    match = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert match is not None
    assert ferrylm.__version__ == match[1]
