"""What an example asks, for telling whether two are the same question.

Long prompts share most of their words with every other prompt made from the same template; those
words say nothing about the question, so shingles that very many examples hold are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sartor.data.cleaning import normalized
from sartor.data.near_copies import near_copies
from sartor.data.records import Example
from sartor.data.shingles import Hashes, shingles

_SHINGLE = 3  # words
_TEMPLATE_SHARE = 0.1
_TEMPLATE_EXAMPLES = 50


def asked(example: Example) -> str:
    """All that is said before the answer, without the system's message."""
    return "\n".join(message.content for message in example.input if message.role != "system")


def normalized_input(example: Example) -> str:
    """The input, to be compared with others word by word."""
    return normalized(asked(example))


def paraphrases(examples: Sequence[Example]) -> list[list[int]]:
    """Clusters of examples with the same answer whose inputs are near-copies of each other."""
    answers = [normalized(example.targets[0]) for example in examples]
    return near_copies(_own_words(examples), labels=answers)


def asking_alike(examples: Sequence[Example]) -> list[list[int]]:
    """The same, whatever the answers are."""
    return near_copies(_own_words(examples))


def _own_words(examples: Sequence[Example]) -> list[Hashes]:
    return _without_templates([shingles(asked(example), _SHINGLE) for example in examples])


def _without_templates(shingled: Sequence[Hashes]) -> list[Hashes]:
    """Shingles that tell inputs apart: those in fewer than a tenth (and 50) of the inputs."""
    often = max(_TEMPLATE_EXAMPLES, _TEMPLATE_SHARE * len(shingled))
    if len(shingled) <= often:
        return list(shingled)
    values, counts = np.unique(np.concatenate(shingled), return_counts=True)
    template = values[counts > often]
    stripped = [np.setdiff1d(own, template, assume_unique=True) for own in shingled]
    return [short if len(short) else own for short, own in zip(stripped, shingled, strict=True)]
