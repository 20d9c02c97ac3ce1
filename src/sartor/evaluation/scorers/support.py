"""Whether passages support a claim, by words and embeddings: the check that needs no model.

Numbers, names and dates must stand in the passages exactly (exactly.py). The rest is weighed: how
many of the claim's words stand in the passages and in the one sentence that is nearest to it, how
near its other words come to a word there, and whether the two disagree in a negation, an opposite
or a number. The weights are a logistic regression over the development half of a labelled set;
how often the check is right was measured on the other half, and is shown beside every score that
rests on it. `python benchmarks/grounding.py` makes both (support.json).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.evaluation.scorers.exactly import figures, missing, stems
from sartor.evaluation.scorers.wording import sentences, words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIGURES = Path(__file__).with_name("support.json")
_NEGATION_WORDS = """
    no not never none neither nor without cannot can't don't doesn't didn't isn't aren't wasn't
    weren't won't wouldn't shouldn't couldn't hasn't haven't hadn't cant dont doesnt didnt isnt
    arent wasnt wont nobody nothing hardly unable instead rather rarely seldom
"""
_NEGATIONS = frozenset(_NEGATION_WORDS.split())
_OPPOSITES = """
    increase/decrease increase/reduce raise/lower more/less more/fewer most/few all/none all/only
    always/never often/rarely usually/rarely usually/never before/after first/last early/late
    above/below high/low large/small big/small long/short fast/slow quick/slow good/poor good/bad
    better/worse best/worst common/rare many/few cause/prevent allow/prohibit allow/forbid
    permit/prohibit accept/refuse mild/severe acute/chronic internal/external public/private
    public/secret public/confidential free/costly begin/end start/stop rise/fall gain/loss
    profit/loss win/lose strong/weak easy/hard easy/difficult cheap/expensive old/young
    new/old same/different similar/different required/optional must/need true/false safe/dangerous
    positive/negative improve/worsen support/oppose agree/disagree quickly/slowly rapidly/slowly
    likely/unlikely fixed/variable part-time/full-time full/partial inside/outside single/multiple
    one/several upfront/later north/south winter/summer older/newer older/younger
"""
_OPPOSITE: dict[str, set[str]] = {}
for _pair in _OPPOSITES.split():
    _one, _other = (min(stems(word) or {word}) for word in _pair.split("/"))
    _OPPOSITE.setdefault(_one, set()).add(_other)
    _OPPOSITE.setdefault(_other, set()).add(_one)

FEATURES = (
    "words in the passages",
    "words in the nearest sentence",
    "nearness of its words",
    "nearness of its farthest word",
    "nearness to the nearest sentence",
    "number not in the nearest sentence",
    "negation in one alone",
    "opposite word",
)
"""What the weights are of, in their order."""


@dataclass(frozen=True)
class Support:
    """What the check makes of a claim."""

    probability: float
    """That the passages support it, 0 to 1."""
    doubt: str
    """Why they do not, for people; empty where they do."""


def support(claim: str, passages: Sequence[str], asked: str = "") -> Support:
    """Check one claim; words of the question, `asked`, need not stand in the passages."""
    if said := missing(claim, passages):
        return Support(0.0, said)
    if not stems(claim) - stems(asked) or _is_copied(claim, passages):
        return Support(1.0, "")
    import numpy as np

    fitted = _fitted()
    logit = float(features(claim, passages, asked) @ np.array(fitted["weights"])) + fitted["bias"]
    probability = float(1 / (1 + np.exp(-logit)))
    if probability >= fitted["threshold"]:
        return Support(probability, "")
    return Support(probability, f"{probability:.0%} likely to be supported: {claim!r}")


def features(claim: str, passages: Sequence[str], asked: str = "") -> NDArray[np.float64]:
    """What is weighed, in the order of FEATURES."""
    import numpy as np

    content = sorted(stems(claim) - stems(asked))
    held = frozenset().union(*(stems(text) for text in passages))
    places = [sentence for text in passages for sentence in _sentences(text)]
    vector = _vectors((claim,))[0]
    near = _vectors(tuple(places)) @ vector  # (sentences,)
    shares = np.array([_share(content, stems(place)) for place in places])
    best = int(np.argmax(shares + near))
    sentence, nearest = places[best], stems(places[best])
    closeness = _closeness(content, sorted(held))
    return np.array(
        [
            _share(content, held),
            shares[best],
            closeness.mean(),
            closeness.min(),
            near[best],
            float(not figures(claim) <= figures(sentence)),
            float(_negated(claim) != _negated(sentence)),
            float(_opposes(content, nearest)),
        ]
    )


def note() -> str:
    """How often the check is right, as it was measured."""
    measured = json.loads(FIGURES.read_text("utf-8"))["held-out"]
    rates = ", ".join(
        f"{row['right']:.0%} of what is {label} ({row['low']:.0%} to {row['high']:.0%})"
        for label, row in measured.items()
        if label != "all"
    )
    whole = measured["all"]
    return (
        f"by the built-in check, which was right on {whole['right']:.0%} of {whole['n']} labelled "
        f"claims that it was not fitted to: {rates}. Name an entailment model to do better"
    )


@cache
def _fitted() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FIGURES.read_text("utf-8"))["check"]
    return found


@lru_cache(maxsize=4096)
def _sentences(text: str) -> tuple[str, ...]:
    return tuple(sentences(text)) or (text,)


@lru_cache(maxsize=4096)
def _vectors(texts: tuple[str, ...]) -> NDArray[np.float32]:
    from sartor.models.encoder import StaticEncoder

    return StaticEncoder().encode(texts)


def _closeness(content: Sequence[str], held: Sequence[str]) -> NDArray[np.float64]:
    """Of each word of the claim, the cosine to the nearest word of the passages: (words,)."""
    import numpy as np

    if not content or not held:
        return np.zeros(1)
    known = set(held)
    nearest = (_vectors(tuple(content)) @ _vectors(tuple(held)).T).max(axis=1)
    return np.array(
        [1.0 if w in known else float(n) for w, n in zip(content, nearest, strict=True)]
    )


def _share(content: Sequence[str], held: frozenset[str]) -> float:
    return sum(word in held for word in content) / len(content) if content else 1.0


def _negated(text: str) -> bool:
    plain = re.sub(r"[\u2019\u2018]", "'", text.casefold())
    return sum(word in _NEGATIONS for word in re.findall(r"[\w']+", plain)) % 2 == 1


def _opposes(content: Sequence[str], nearest: frozenset[str]) -> bool:
    return any(word not in nearest and _OPPOSITE.get(word, set()) & nearest for word in content)


def _is_copied(claim: str, passages: Sequence[str]) -> bool:
    wanted = f" {' '.join(words(claim))} "
    return any(wanted in f" {' '.join(words(text))} " for text in passages)
