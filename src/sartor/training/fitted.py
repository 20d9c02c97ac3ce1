"""Answers behind their prompts, cut to what a model reads: what was cut or left out is said.

An answer that is cut has no end: a model that learns only such never stops by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from sartor.errors import TrainingError
from sartor.progress import say

SHORTEST_ANSWER = 8
"""Tokens of an answer that must fit behind a prompt for the example to be trained on."""


class Fitted:
    """Puts answers behind prompts, and counts those that do not fit."""

    def __init__(self, context: int) -> None:
        self.context = context
        """Tokens that an example may have."""
        self.asked = self.left_out = self.cut = 0

    def tokens(self, prompt: Sequence[int], answer: Sequence[int]) -> tuple[int, ...] | None:
        """Both, the answer cut to the context; None where the prompt leaves no room for it."""
        self.asked += 1
        if len(prompt) + min(SHORTEST_ANSWER, len(answer)) > self.context:
            self.left_out += 1
            return None
        self.cut += len(prompt) + len(answer) > self.context
        return (*prompt, *answer)[: self.context]

    def tell(self, what: str = "examples") -> None:
        """Say how many did not fit; TrainingError where that leaves none."""
        if self.left_out:
            some = f"{self.left_out} of {self.asked} {what}"
            say(f"{some} have prompts that fill the model's context: left out")
        if self.cut:
            say(
                f"{self.cut} of {self.asked} {what} are longer than the model's context of "
                f"{self.context} tokens: their answers are cut, and their end is not learned"
            )
        if self.asked and self.left_out == self.asked:
            raise TrainingError(
                f"nothing to train on: all {self.asked} prompts fill the model's context of "
                f"{self.context} tokens. Shorten them, use fewer passages, or choose a longer "
                "context."
            )
