"""Make tests/golden/smollm2_token_ids.json with transformers' fast tokenizer.

transformers can build a tokenizer from a GGUF file, but (seen with 5.23) ignores the key
`tokenizer.ggml.pre`: the result lacks the digit splitting of this model. So the pipeline of the
model's own tokenizer.json is built here, from the vocabulary and merges of the GGUF:
Digits(individual_digits), then ByteLevel, no normalizer, no post-processor, and no unknown token,
so that the 21 bytes without a token are dropped. See docs/correctness.md for how that was checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import goldens_chats as chats
import goldens_texts as texts
import tokenizers
import transformers
from gguf import GGUFReader
from goldens_files import write_json

CONTROL_TOKEN = 3  # token type of the GGUF specification


def build_tokenizer(gguf_path: Path) -> Any:
    """Build the reference tokenizer, a transformers PreTrainedTokenizerFast, from a GGUF file."""
    reader = GGUFReader(gguf_path)

    def field(name: str) -> Any:
        return reader.fields[f"tokenizer.{name}"].contents()

    if (field("ggml.model"), field("ggml.pre")) != ("gpt2", "smollm"):
        raise SystemExit("this script knows the pre-tokenizer of SmolLM2 only")
    vocabulary = field("ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in field("ggml.merges")]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab={token: index for index, token in enumerate(vocabulary)}, merges=merges
        )
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    specials = [
        tokenizers.AddedToken(token, special=True, normalized=False)
        for token, kind in zip(vocabulary, field("ggml.token_type"), strict=True)
        if kind == CONTROL_TOKEN
    ]
    tokenizer.add_special_tokens(specials)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=vocabulary[field("ggml.bos_token_id")],
        eos_token=vocabulary[field("ggml.eos_token_id")],
    )
    wrapped.chat_template = field("chat_template")
    return wrapped


def all_texts() -> list[str]:
    """Return every text of the golden, without duplicates, in a fixed order."""
    broken = [data.decode("utf-8", errors="replace") for data in texts.BROKEN_BYTES]
    groups = (
        texts.WHITESPACE,
        texts.NUMBERS,
        texts.ENGLISH,
        texts.ADDRESSES,
        texts.CODE,
        texts.LANGUAGES,
        texts.EMOJI,
        broken,
        texts.CONTROL,
        chats.SPECIALS,
    )
    return list(dict.fromkeys(text for group in groups for text in group))


def make_token_ids(gguf_path: Path, target: Path) -> None:
    """Write the token ids of all texts and chats."""
    tokenizer = build_tokenizer(gguf_path)
    text_records = []
    for index, text in enumerate(all_texts()):
        add_special_tokens = index % 4 == 3
        ids = tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"]
        text_records.append({"text": text, "ids": ids, "add_special_tokens": add_special_tokens})
    chat_records = []
    for messages, add_generation_prompt in chats.CHATS:
        text = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
        )
        chat_records.append(
            {
                "messages": list(messages),
                "add_generation_prompt": add_generation_prompt,
                "text": text,
                "ids": tokenizer(text, add_special_tokens=False)["input_ids"],
            }
        )
    source = (
        f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__};"
        " pipeline Digits(individual_digits), ByteLevel; vocabulary, merges and chat template of"
        f" {gguf_path.name}"
    )
    write_json(target, {"source": source, "texts": text_records, "chats": chat_records})
    print(f"{target.name}: {len(text_records)} texts, {len(chat_records)} chats")
