"""A fixed text whose token ids tell whether a tokenizer is the one an artifact was made with."""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np

# Never change this text: the hash of its token ids is stored in every artifact.
PROBE_TEXT = (
    "The quick brown fox jumps over the lazy dog. THE QUICK BROWN FOX! don't, I'll, we've, it's\n"
    "def fibonacci(n: int) -> int:\n    return n if n < 2 else fibonacci(n - 1) + f(n - 2)\n"
    "\tfor (size_t i = 0; i != 0x7fff; ++i) { a[i] <<= 3; /* tab */ }\r\n"
    "SELECT count(*) FROM t WHERE x>=1.5e-3 AND name LIKE '%\\_%';\n\n\n"
    '<div class="a">&amp;</div> {"key": [null, true, -0.0]} https://example.org/a?b=c#d\n'
    "0 1 12 123 1234 12345 123456 1234567 3.14159 1,000,000 2026-11-21 \u00bd x\u00b2 \u2167\n"
    "  two   three    four        eight                sixteen \t \t\t tabs \u00a0nbsp\u3000wide \n"
    "Fran\u00e7ais: o\u00f9 \u00eates-vous, \u0153uvre? Deutsch: \u00dcber Stra\u00dfe. "
    "Espa\u00f1ol: \u00bfqu\u00e9 ma\u00f1ana? T\u00fcrk\u00e7e: \u0131\u0130\u011f\u015f. "
    "Ti\u1ebfng Vi\u1ec7t: \u0111\u01b0\u1eddng. e\u0301 a\u0308 \ufb01 \u212b\n"
    "\u0420\u0443\u0441\u0441\u043a\u0438\u0439: \u0441\u044a\u0435\u0448\u044c \u0436\u0435 "
    "\u0435\u0449\u0451. \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac: \u03ba\u03b1\u03bb"
    "\u03b7\u03bc\u03ad\u03c1\u03b1. \u05e2\u05d1\u05e8\u05d9\u05ea: \u05e9\u05dc\u05d5\u05dd\n"
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629: \u0645\u0631\u062d\u0628\u064b\u0627 "
    "\u0661\u0662\u0663. \u0939\u093f\u0928\u094d\u0926\u0940: \u0928\u092e\u0938\u094d\u0924"
    "\u0947 \u0967\u0968. \u0e44\u0e17\u0e22: \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35. "
    "\u1225\u120b\u121d\n"
    "\u4e2d\u6587\uff1a\u4f60\u597d\uff0c\u4e16\u754c\u3002\u7e41\u9ad4\u5b57 \u65e5\u672c"
    "\u8a9e\uff1a\u3053\u3093\u306b\u3061\u306f\u30c6\u30b9\u30c8\uff76\uff9e "
    "\ud55c\uad6d\uc5b4: \uc548\ub155\ud558\uc138\uc694 \u1112\u1161\u11ab\n"
    "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 "
    "\U0001f1e9\U0001f1ea \u2764\ufe0f \U00020000 \U0001d4d0 \u200b\u200e\ufeff\u00ad\n"
    "\u2018single\u2019 \u201cdouble\u201d \u2014 \u2026 \u20ac\u00a3\u00a5 \u2211\u222b\u2260 "
    "\u2581lower\u2581 \u0120G \x00\x01\x7f\ufffd\n"
    "<s></s><unk><pad><|endoftext|><|im_start|>user<|im_end|><bos><eos><0x41>[INST] [/INST]"
    "<|begin_of_text|><|eot_id|><start_of_turn><|user|><think></think><tool_call>\n"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa----------------................ ~~~~ ==== //// \\\\\\\\ "
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis xQzVkJ7p "
)


class TextEncoder(Protocol):
    """What the probe asks of a tokenizer; `ferrylm.runtime.tokenizer.Tokenizer` has it."""

    def encode(self, text: str, /, *, add_special_tokens: bool) -> list[int]:
        """Return the token ids of a text."""


def probe_sha256(tokenizer: TextEncoder) -> str:
    """Return the SHA-256, in hexadecimal, of the probe text's token ids as little-endian int32."""
    ids = tokenizer.encode(PROBE_TEXT, add_special_tokens=False)
    return hashlib.sha256(np.asarray(ids, dtype="<i4").tobytes()).hexdigest()
