"""What counts as saying that one does not know: a short list of English phrases.

Deliberately narrow: an answer that only hedges ("I don't know the brand, but it costs $5") is an
answer. A model that refuses in other words, or in another language, is not recognized.
"""

from __future__ import annotations

import re

from sartor.evaluation.records import Prediction
from sartor.evaluation.scorers.wording import same, sentences

ABSTENTION = "I don't know."
"""What a model is taught to say when the answer is not there."""

_NOT = r"(?:do not|does not|don't|doesn't|did not|didn't)"
_CANNOT = r"(?:cannot|can not|can't|could not|couldn't|am unable to|'m unable to|am not able to)"
_SOURCE = (
    r"(?:passages?|contexts?|documents?|texts?|articles?|sources?|excerpts?|materials?|information)"
)
_PHRASES = (
    rf"\bi (?:really |honestly )?{_NOT} (?:know|have (?:that|this|the|enough|any) information)\b",
    r"\bi(?:'m| am) (?:not sure|unable to (?:answer|say|tell|find|determine))\b",
    rf"\bi {_CANNOT} (?:answer|say|tell|find|determine)\b",
    rf"^(?:sorry, )?(?:{_CANNOT}|unable to) (?:answer|say|determine|be (?:answered|determined))\b",
    rf"^(?:that|this|it|the question|the answer) {_CANNOT} be "
    r"(?:answered|determined|found|inferred)\b",
    rf"\b{_SOURCE}(?: (?:provided|given|above))? {_NOT} "
    r"(?:say|mention|contain|state|specify|provide|include|tell|give|answer)\b",
    rf"\bnot (?:mentioned|stated|specified|given|provided|answered|found) "
    rf"(?:in|by) (?:the|this|these) (?:\w+ )?{_SOURCE}\b",
    r"^(?:there is |there's )?(?:no answer|not enough information|insufficient information)\b",
    r"^(?:unanswerable|unknown|not known|n/a)[.!]?$",
)
_REFUSAL = re.compile("|".join(_PHRASES))
_GOES_ON = re.compile(r"\b(?:but|however)\b")
_APOSTROPHES = str.maketrans("\u2019\u2018`", "'''")  # curly ones


def is_abstention(text: str) -> bool:
    """Whether the text says, in its first sentence and without a "but", that it does not know."""
    plain = " ".join(text.translate(_APOSTROPHES).casefold().split())
    first = next(iter(sentences(plain)), "")
    return bool(_REFUSAL.search(first)) and not _GOES_ON.search(plain)


def says_nothing(text: str) -> bool:
    """Whether there is no letter and no digit: neither an answer nor an honest refusal."""
    return not any(character.isalnum() for character in text)


def abstained(prediction: Prediction) -> bool:
    """Whether the completion declines to answer.

    Of an answerable example, words that are right are an answer, whatever they sound like.
    """
    text, example = prediction.completion.text, prediction.example
    right = example.answerable and any(same(text, target) for target in example.targets)
    return is_abstention(text) and not right
