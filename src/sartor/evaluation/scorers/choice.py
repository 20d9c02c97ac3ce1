"""Multiple choice by generation: the letter that the answer chooses.

Read strictly: an option's own words; or an option's letter, alone, before a stop or bracket, or
after "answer is". What names none is wrong. The options are the example's `choices`, or
those that its request lists. (By likelihood, where the model's own scores choose among them:
choice_likelihood.py.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import ClassVar

from sartor.data.records import Conversation, Example
from sartor.evaluation.records import Prediction, Score
from sartor.evaluation.scorers.against_targets import REFUSED
from sartor.evaluation.scorers.refusal import is_abstention
from sartor.evaluation.scorers.wording import normalize

_OPTION = re.compile(r"^\s*\(?([A-Z])[.):]\s+(\S.*?)\s*$", re.MULTILINE)
_SMALL_OPTION = re.compile(r"^\s*\(?([a-z])[.):]\s+(\S.*?)\s*$", re.MULTILINE)
_BEGINS = re.compile(r"^\s*[\"'*(\[]*([A-Za-z])(?:[\"'*)\]]*\s*$|[.):\]*]+(?:\s|$))")
_SAID = re.compile(
    r"\b(?:[Aa]nswer|[Oo]ption|[Cc]hoice|[Aa]ntwort|[Rr]\u00e9ponse|[Rr]espuesta|[Rr]isposta|[Rr]esposta|"
    r"[Aa]ntwoord)(?: is| ist| est| es| \u00e8| \u00e9|:)?:?\s+[\"'*(\[]*"
    r"([A-Z]\b(?![\w'])|[a-z](?=[)\].,:;*]|\s*$))"
)
"""A small letter only where no word follows: "the answer is a tent" names none."""


class Choice:
    """1 when the option that the answer chooses is the target's."""

    name: ClassVar[str] = "choice"
    binary: ClassVar[bool] = True

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Of examples of which a target is an option: a letter, or the words of one."""
        found = []
        for prediction in predictions:
            if rights := right_options(prediction.example):
                said = chosen(prediction.completion.text, options_of(prediction.example))
                why = "" if said else _why_none(prediction)
                right = float(said in rights)
                found.append(Score(prediction.example.id, self.name, right, why))
        return found


def options_of(example: Example) -> dict[str, str]:
    """Its options by letter."""
    if example.choices:
        return dict(zip(ascii_uppercase, example.choices, strict=False))
    return options_in(example.input)


def right_options(example: Example) -> set[str]:
    """The letters of those that a target names."""
    options = options_of(example)
    return {chosen(target, options) for target in example.targets} - {""}


def options_in(conversation: Conversation) -> dict[str, str]:
    """The options of the last request, "A. text" or "a) text" a line, by letter."""
    last = next((m.content for m in reversed(conversation) if m.role == "user"), "")
    if listed := dict(_OPTION.findall(last)):
        return listed
    small = dict(_SMALL_OPTION.findall(last))
    return small if {"a", "b"} <= small.keys() else {}


def chosen(text: str, options: dict[str, str]) -> str:
    """The letter that a text chooses; empty for none, or for several.

    Words first: where Java is option C, "C" is the option that says so, if there is one. "C++" and
    "C" are told apart as they are written, and other texts are compared without case and marks.
    Where no options are known, any letter is one.
    """
    for as_compared in (str.strip, normalize):
        said = as_compared(text)
        same = [letter for letter, option in options.items() if as_compared(option) == said]
        if said and len(same) == 1:
            return same[0]
    letters = {letter.upper(): letter for letter in options or ascii_uppercase}
    found = _BEGINS.match(text)
    if found and found[1].upper() in letters:
        return letters[found[1].upper()]
    named = {said.upper() for said in _SAID.findall(text)} & letters.keys()
    return letters[named.pop()] if len(named) == 1 else ""


def _why_none(prediction: Prediction) -> str:
    return REFUSED if is_abstention(prediction.completion.text) else "names no option"
