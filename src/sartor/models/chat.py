"""Conversations to tokens, as the base model's own chat template has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sartor.data.records import Conversation, Message
from sartor.errors import ModelError

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""For base models that bring no template: the roles in words."""


def encode(tokenizer: Any, conversation: Conversation, *, answer: bool = True) -> list[int]:
    """The prompt's tokens; with `answer`, up to where the assistant's answer begins."""
    control = _control_tokens(tokenizer)
    conversation = tuple(Message(m.role, _disarmed(m.content, control)) for m in conversation)
    messages = [{"role": m.role, "content": m.content} for m in conversation]
    options: dict[str, Any] = {} if tokenizer.chat_template else {"chat_template": PLAIN_TEMPLATE}
    options |= {"add_generation_prompt": answer, "tokenize": False}
    try:
        text = tokenizer.apply_chat_template(messages, **options)
    except Exception as error:  # templates raise jinja2 errors of their own choosing
        text = _without_system(tokenizer, conversation, options, error)
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return ids if tokenizer.chat_template else [*_beginning(tokenizer), *ids]


def _beginning(tokenizer: Any) -> list[int]:
    """The token that the tokenizer begins every text with, if any; a template writes its own."""
    first = list(tokenizer("")["input_ids"])[:1]
    return first if first and first[0] == tokenizer.bos_token_id else []


def _disarmed(content: str, control: Sequence[str]) -> str:
    """Content in which nothing is a control token: a document must not end its own turn."""
    for token in control:
        if token in content:
            content = content.replace(token, f"{token[0]} {token[1:]}")
    return content


def _control_tokens(tokenizer: Any) -> list[str]:
    """Every token that is no text, longest first."""
    added = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    tokens = {token for token in added | set(tokenizer.all_special_tokens) if token}
    return sorted(tokens, key=lambda token: (-len(token), token))


def _without_system(
    tokenizer: Any, conversation: Conversation, options: dict[str, Any], error: Exception
) -> str:
    """Some templates (Gemma, Mistral) know no system role: put it before the first request."""
    if not conversation or conversation[0].role != "system" or len(conversation) < 2:
        raise _refused(error) from error
    first = conversation[1]
    merged = Message(first.role, f"{conversation[0].content}\n\n{first.content}")
    messages = [{"role": m.role, "content": m.content} for m in (merged, *conversation[2:])]
    try:
        return str(tokenizer.apply_chat_template(messages, **options))
    except Exception as again:
        raise _refused(again) from again


def _refused(error: Exception) -> ModelError:
    from jinja2 import TemplateSyntaxError

    if isinstance(error, TemplateSyntaxError):
        return ModelError(
            f"the model's chat template is broken: {error.message} (its line {error.lineno}). Copy "
            "or download the base's chat_template.jinja, or tokenizer_config.json, again."
        )
    return ModelError(f"the model's chat template refuses this conversation: {error}")


def encode_answer(tokenizer: Any, text: str) -> list[int]:
    """The tokens of an answer, with the end-of-turn token that stops generation.

    Raises ModelError where the tokenizer has no such token.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "the base's tokenizer names no end-of-text token, so a model could not be taught where "
            'an answer ends. Set "eos_token" in its tokenizer_config.json.'
        )
    text = _disarmed(text, _control_tokens(tokenizer))
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return [*ids, tokenizer.eos_token_id]


def end_tokens(tokenizer: Any, network: Any) -> frozenset[int]:
    """Tokens that end an answer: the tokenizer's, and those of the generation configuration."""
    found = {tokenizer.eos_token_id}
    configured = getattr(network.generation_config, "eos_token_id", None)
    found |= set(configured) if isinstance(configured, list) else {configured}
    return frozenset(token for token in found if token is not None)
