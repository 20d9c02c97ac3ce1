"""How long requests and answers are, where there is no project: as told, or by a file of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from sartor.errors import DataError, SettingError

CHARACTERS, AROUND = 4.0, 20
"""Of a token in English text; tokens of a chat template."""


@dataclass(frozen=True)
class Lengths:
    """Examples that are all alike, in tokens."""

    prompt_tokens: int
    answer_tokens: int
    examples: int

    def __post_init__(self) -> None:
        if min(self.prompt_tokens, self.answer_tokens, self.examples) < 1:
            raise SettingError("prompt tokens, answer tokens and the count are each 1 or more.")


def lengths_of(base: str, file: Path) -> Lengths:
    """The mean lengths of a file of examples, in the base's tokens; where its tokenizer is not at
    hand, at `CHARACTERS` a token. DataError where no row has an answer that is right."""
    from sartor.data.collect import collect
    from sartor.models.outline import known

    found = [e for e in collect(file.parent, [], [file.name]).examples if e.targets]
    if not found:
        raise DataError(
            f"{file}: no row has an answer that is right, only rejected ones; how long answers are "
            "is not known. Name a file with answers, or give --prompt-tokens and --answer-tokens."
        )
    card, _, _ = known(base)
    prompts = [" ".join(m.content for m in e.input) for e in found]
    answers = [e.targets[0] for e in found]
    if card.path:
        from sartor.models import chat
        from sartor.models.local import load_tokenizer

        tokenizer = load_tokenizer(card)
        asked = fmean(len(chat.encode(tokenizer, e.input)) for e in found)
        answered = fmean(len(chat.encode_answer(tokenizer, answer)) for answer in answers)
    else:
        asked = fmean(map(len, prompts)) / CHARACTERS + AROUND
        answered = fmean(map(len, answers)) / CHARACTERS + 1
    return Lengths(max(1, round(asked)), max(1, round(answered)), len(found))
