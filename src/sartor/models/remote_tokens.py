"""Tokens of a remote model, whose tokenizer nobody has: estimated, and bounded.

The estimate decides what fits into a prompt, and is rather too high than too low: most tokenizers
take about four characters of English for a token. The bound decides what a request could cost at
most: a byte-level tokenizer makes no more tokens than there are bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sartor.data.records import Conversation

CHARACTERS, OTHERS = 3.0, 1.0
"""Characters that a token is taken to have: of ASCII, and of all else."""
A_MESSAGE, A_PROMPT = 8, 8
"""Tokens of a chat template, for each message and once."""


def estimated(text: str) -> int:
    """About how many tokens a text has."""
    ascii_only = sum(character < "\x80" for character in text)
    return math.ceil(ascii_only / CHARACTERS + (len(text) - ascii_only) / OTHERS)


def estimated_prompt(conversation: Conversation) -> int:
    """About how many tokens a prompt has."""
    return A_PROMPT + sum(A_MESSAGE + estimated(message.content) for message in conversation)


def most_prompt(conversation: Conversation, parameters: Mapping[str, Any]) -> int:
    """More tokens than this no prompt has. Some parameters, such as the form that an answer is to
    have, are read with it."""
    texts = (message.content.encode("utf-8", "replace") for message in conversation)
    beside = json.dumps(parameters, ensure_ascii=False) if parameters else ""
    return (
        2 * A_PROMPT
        + sum(2 * A_MESSAGE + len(text) for text in texts)
        + len(beside.encode("utf-8", "replace"))
    )


class CountingTokenizer:
    """Counts in place of a tokenizer: its tokens are as many as estimated, and all alike.

    It takes the calls that `chat.encode` and sampling make of a tokenizer of transformers.
    """

    chat_template = "remote"
    added_tokens_decoder: Mapping[int, Any] = {}
    all_special_tokens: Sequence[str] = ()
    bos_token_id = None
    eos_token_id = 0

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [0] * estimated(text)}

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **_: Any) -> str:
        """A text with as many tokens as the template would have made."""
        template = " " * int(CHARACTERS * (A_PROMPT + A_MESSAGE * len(messages)))
        return template + "".join(message["content"] for message in messages)
