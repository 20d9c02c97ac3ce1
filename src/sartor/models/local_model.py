"""A base model in this process as a `LanguageModel`: text in, text out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sartor.data.records import Conversation
from sartor.errors import PromptTooLongError
from sartor.models import chat, generation, local
from sartor.models.language_model import Completion, ModelCard, Sampling
from sartor.models.prefix import Prefix

if TYPE_CHECKING:
    import torch

BATCH_TOKENS = generation.BATCH_TOKENS
"""Prompt and answer tokens that are held together; bounds the memory of a call."""


class LocalModel:
    """A transformers model, bare or customized; before every prompt goes what is `virtual`:
    embeddings (virtual tokens, hidden), or keys and values."""

    def __init__(
        self,
        card: ModelCard,
        network: Any | None = None,
        virtual: torch.Tensor | Prefix | None = None,
    ) -> None:
        self.card = card
        self.tokenizer = local.load_tokenizer(card)
        self.network = network or local.load_network(card, local.inference_dtype(card))
        self.network.eval()
        self.virtual = virtual
        self._ends = chat.end_tokens(self.tokenizer, self.network)

    def prompt_tokens(self, conversation: Conversation) -> int:
        """Tokens of a prompt, virtual ones included."""
        return self._read(chat.encode(self.tokenizer, conversation))

    def _read(self, prompt: Sequence[int]) -> int:
        return len(prompt) + (0 if self.virtual is None else len(self.virtual))

    def generate(
        self, conversations: Sequence[Conversation], sampling: Sampling
    ) -> list[Completion]:
        """Answer all, within `BATCH_TOKENS` at a time; those that begin alike meet.

        Raises PromptTooLongError when a prompt leaves no room for an answer in the model's context.
        """
        prompts = [self._encode(conversation) for conversation in conversations]
        if not prompts:
            return []
        began = time.perf_counter()
        written = [_Written(self.tokenizer, self._ends, sampling.stop) for _ in prompts]
        for step in self._steps(prompts, sampling, written):
            for row, token in step.tokens:
                written[row].add(token)
        seconds = (time.perf_counter() - began) / len(prompts)
        return [
            w.completion(self._read(prompt), seconds)
            for w, prompt in zip(written, prompts, strict=True)
        ]

    def stream(self, conversation: Conversation, sampling: Sampling) -> Iterator[str | Completion]:
        """Pieces of the answer as they are written, then the whole completion."""
        began = time.perf_counter()
        prompt = self._encode(conversation)
        written = _Written(self.tokenizer, self._ends, sampling.stop)
        sent = ""
        for step in self._steps([prompt], sampling, [written]):
            [(_, token)] = step.tokens
            written.add(token)
            text = written.text().lstrip()
            held = max((_overlap(text, stop) for stop in sampling.stop), default=0)
            ready = text[: len(text) - held].rstrip()  # white space at the end is no part of it
            # a byte-level piece of a character decodes to U+FFFD until the rest of it is there
            if ready.startswith(sent) and not ready.endswith("�") and ready != sent:
                yield ready[len(sent) :]
                sent = ready
        completion = written.completion(self._read(prompt), time.perf_counter() - began)
        if completion.text.startswith(sent) and completion.text != sent:
            yield completion.text[len(sent) :]
        yield completion

    def _encode(self, conversation: Conversation) -> list[int]:
        prompt = chat.encode(self.tokenizer, conversation)
        if self._read(prompt) >= self.card.context:
            raise PromptTooLongError(
                f"the prompt has {self._read(prompt)} tokens, but {self.card.name} "
                f"reads at most {self.card.context}, its answer included. Shorten the request, use "
                "fewer passages or examples, or choose a base with a longer context."
            )
        return prompt

    def _steps(
        self, prompts: list[list[int]], sampling: Sampling, written: list[_Written]
    ) -> Iterator[generation.Step]:
        rooms = [self.card.context - self._read(prompt) for prompt in prompts]
        return generation.steps(
            self.network,
            prompts,
            max_new_tokens=[min(sampling.max_new_tokens, room) for room in rooms],
            ends=self._ends,
            temperature=sampling.temperature,
            seed=sampling.seed,
            virtual=self.virtual,
            stopped=lambda row: written[row].finished,
            batch_tokens=BATCH_TOKENS,
        )


class _Written:
    """An answer while it is being written."""

    def __init__(self, tokenizer: Any, ends: frozenset[int], stop: tuple[str, ...]) -> None:
        self.tokenizer = tokenizer
        self.ends = ends
        self.stop = tuple(s for s in stop if s)
        self.tokens: list[int] = []
        self.finished = False

    def add(self, token: int) -> None:
        if token in self.ends:
            self.finished = True
            return
        self.tokens.append(token)
        if self.stop and any(s in self._decoded() for s in self.stop):
            self.finished = True

    def _decoded(self) -> str:
        return str(self.tokenizer.decode(self.tokens, skip_special_tokens=True))

    def text(self) -> str:
        """What is written so far, cut before the first stop text."""
        text = self._decoded()
        found = [text.index(s) for s in self.stop if s in text]
        return text[: min(found)] if found else text

    def completion(self, prompt_tokens: int, seconds: float) -> Completion:
        return Completion(
            text=self.text().strip(),
            finish="stop" if self.finished else "length",
            prompt_tokens=prompt_tokens,
            new_tokens=len(self.tokens),
            seconds=seconds,
        )


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    return max((n for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
