"""Read the tokenizer files of a Hugging Face or MLC folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ferrylm.compile.sources.files import read_file
from ferrylm.compile.sources.source import TokenizerFiles
from ferrylm.compile.sources.tokenizer_check import TokenizerFacts, check_tokenizer
from ferrylm.compile.sources.tokenizer_json import STOP_TEXTS
from ferrylm.compile.sources.tokenizer_structure import check_structure
from ferrylm.errors import SourceError, TokenizerError
from ferrylm.runtime import strict_json

_TOKENIZER = "tokenizer.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_TEMPLATE = "chat_template.jinja"
_MAX_TOKENIZER_BYTES = 64 << 20
_MAX_CONFIG_BYTES = 16 << 20
_MAX_TEMPLATE_BYTES = 1 << 20
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")

JsonObject = dict[str, strict_json.JsonValue]


def read_tokenizer(
    folder: Path, config: Mapping[str, object], generation: Mapping[str, object]
) -> TokenizerFiles:
    """Read and check tokenizer.json, tokenizer_config.json and the chat template of a folder.

    Generation stops at the ids that config.json and generation_config.json name, at eos_token,
    and at tokens that end an answer in some chat format. Raises SourceError or TokenizerError.
    """
    if not (folder / _TOKENIZER).is_file():
        raise TokenizerError(
            f"the folder {folder.name!r} without {_TOKENIZER}",
            wanted="a tokenizer in the format of the tokenizers package",
            fix="convert it with transformers: AutoTokenizer.from_pretrained(...).save_pretrained",
        )
    document = check_structure(_read_json(folder / _TOKENIZER, _MAX_TOKENIZER_BYTES))
    settings = _read_settings(folder / _TOKENIZER_CONFIG)
    texts = _special_texts(settings)
    tokenizer_json = json.dumps(document, ensure_ascii=False)
    facts = check_tokenizer(tokenizer_json, [*texts.values(), *sorted(STOP_TEXTS)])
    vocab_size = config["vocab_size"]
    if not isinstance(vocab_size, int) or facts.largest_id >= vocab_size:
        raise TokenizerError(
            f"{_TOKENIZER} with token id {facts.largest_id}",
            wanted=f"ids below the vocab_size {vocab_size}",
            fix="check that tokenizer and config belong together",
        )
    bos = facts.ids.get(texts.get("bos_token", ""))
    return TokenizerFiles(
        tokenizer_json=tokenizer_json,
        chat_template=_chat_template(folder, settings),
        bos_token_id=bos,
        eos_token_ids=_stop_ids(texts, facts, [config, generation], vocab_size),
        add_bos=bos is not None and facts.empty_ids[:1] == (bos,),
        special_tokens=texts,
    )


def _read_json(path: Path, max_bytes: int) -> strict_json.JsonValue:
    data = read_file(path, max_bytes)
    return strict_json.loads(data, what=path.name, error=TokenizerError, max_bytes=max_bytes)


def _read_settings(path: Path) -> JsonObject:
    if not path.is_file():
        return {}
    settings = _read_json(path, _MAX_CONFIG_BYTES)
    if type(settings) is not dict:
        raise _bad_settings("no object")
    return settings


def _special_texts(settings: JsonObject) -> dict[str, str]:
    """Return the special tokens' texts, which are given plainly or as an object's content."""
    texts = {}
    for key in _SPECIAL_TOKENS:
        value = settings.get(key)
        if type(value) is dict:
            value = value.get("content")
        if value is None:
            continue
        if type(value) is not str:
            raise _bad_settings(f"{key} = {ascii(value)[:60]}")
        texts[key] = value
    return texts


def _stop_ids(
    texts: Mapping[str, str],
    facts: TokenizerFacts,
    named_in: list[Mapping[str, object]],
    vocab_size: int,
) -> tuple[int, ...]:
    stops = {index for token, index in facts.ids.items() if token in STOP_TEXTS}
    if texts.get("eos_token") in facts.ids:
        stops.add(facts.ids[texts["eos_token"]])
    for settings in named_in:
        value = settings.get("eos_token_id")
        for index in value if isinstance(value, list) else [value]:
            if index is None:
                continue
            if type(index) is not int or not 0 <= index < vocab_size:
                raise SourceError(
                    f"eos_token_id {ascii(index)[:60]}",
                    wanted=f"a token id below {vocab_size}",
                    fix="correct config.json or generation_config.json",
                )
            stops.add(index)
    return tuple(sorted(stops))


def _chat_template(folder: Path, settings: JsonObject) -> str | None:
    """Return the chat template: a file of its own, or a text or named texts in the settings."""
    path = folder / _TEMPLATE
    if path.is_file():
        try:
            return read_file(path, _MAX_TEMPLATE_BYTES).decode("utf-8")
        except UnicodeDecodeError:
            raise _bad_settings(f"{_TEMPLATE} that is not UTF-8") from None
    template = settings.get("chat_template")
    if type(template) is list:
        named = [item for item in template if type(item) is dict and item.get("name") == "default"]
        template = named[0].get("template") if named else None
    if template is not None and type(template) is not str:
        raise _bad_settings("a chat_template that is no text")
    return template


def _bad_settings(found: str) -> TokenizerError:
    return TokenizerError(
        f"{_TOKENIZER_CONFIG} with {found}", wanted="a text", fix="fetch the file again"
    )
