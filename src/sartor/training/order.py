"""The order in which examples are trained on: what begins alike goes into one step.

A pack computes what its examples begin with once (sharing.py), so questions about one document are
cheapest together. Which documents come when, and which of their questions, follows from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from sartor.models.generation import common_prefix
from sartor.training.sharing import WORTH_SHARING, Sequenced


def alike(examples: Sequence[Sequenced]) -> list[list[int]]:
    """Places of the examples, those together that share more than half of a prompt.

    What all begin with, such as a system prompt, is shared in any order and does not count.
    """
    if not examples:
        return []
    order = sorted(range(len(examples)), key=lambda place: examples[place].tokens)
    all_share = common_prefix([example.tokens for example in examples])
    groups = [[order[0]]]
    for place in order[1:]:
        first, other = examples[groups[-1][0]], examples[place]
        same = common_prefix([first.tokens, other.tokens]) - all_share
        own = min(first.prompt, other.prompt) - all_share
        if same >= WORTH_SHARING and same > own / 2:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def shuffled(groups: Sequence[Sequence[int]], together: int, seed: str) -> list[int]:
    """All places once: at most `together` of a group in a row, everything else by chance."""
    chance = random.Random(seed)
    runs = []
    for group in groups:
        members = list(group)
        chance.shuffle(members)
        runs += [members[start : start + together] for start in range(0, len(members), together)]
    chance.shuffle(runs)
    return [place for run in runs for place in run]
