"""Optimized prompt: an instruction and shown examples, chosen by how the model answers validation.

Many prompts are tried on few examples, the better half on twice as many, and so on (successive
halving: Jamieson and Talwalkar 2016, arXiv:1502.07943). Among the shown examples are some that the
model answers right by itself (bootstrapping: Khattab et al. 2023, arXiv:2310.03714). Nothing is
trained, so it works with any base.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass as record
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.files import digest, read_json, write_json
from sartor.data.records import Example, TrainingData
from sartor.errors import SettingError, TrainingError
from sartor.models.language_model import LanguageModel, ModelCard, Sampling
from sartor.settings import STRICT
from sartor.techniques.agreement import agreement, words
from sartor.techniques.asked import Kept, Later
from sartor.techniques.few_shot import Shots, Shown, varied
from sartor.techniques.technique import Customization
from sartor.techniques.wrapping import around, load_inner, save_inner
from sartor.techniques.zero_shot import INSTRUCTION, Prompted, ZeroShot

INSTRUCTIONS = (
    INSTRUCTION,
    "Answer the question as briefly as you can.",
    "Give the answer and nothing else.",
    "Read the request carefully, and answer exactly what is asked.",
    "You know this field well. Answer correctly and to the point.",
    "Answer in the manner of the examples.",
)
"""What is tried besides what follows from the data."""
LABELS, MOST = 12, 0.9
"""So many answers, where they make up so much of all, are told of as those to choose from."""
BOOTSTRAPPED = 64
"""Training examples that the model is asked, to find those that it answers right."""
FIRST = 8
"""Validation examples of the first round."""


@record(frozen=True, slots=True)
class Prompt:
    """What stands before a request."""

    system: str
    shown: tuple[Example, ...] = ()


@record(frozen=True, slots=True)
class Judged:
    """A prompt that was tried, for people to look at."""

    system: str
    shown: tuple[str, ...]
    """Ids of examples."""
    validation_examples: int
    agreement: float


@dataclass(frozen=True, config=STRICT)
class OptimizedPrompt:
    """Chooses an instruction and examples to show by the validation part."""

    name: ClassVar[str] = "optimized-prompt"
    reads_documents: ClassVar[bool] = False
    outermost: ClassVar[bool] = True
    inner: Any = ZeroShot()
    """What answers: a bare base, or `rag` or a trained technique behind the prompt."""
    instructions: tuple[str, ...] = ()
    """Instructions of your own to try too."""
    examples: int = 4
    """Examples that a prompt shows, where it shows any; each makes every request longer."""
    max_characters: int = 600
    """Training examples longer than this (request and answer) are not shown."""
    prompts: int = 16
    """How many prompts are tried in the first round."""
    validation_examples: int = 64
    """At most so many are asked in the last."""
    max_new_tokens: int = 64
    """Longest answer while prompts are tried."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("examples", "max_characters", "prompts", "validation_examples"):
            if getattr(self, name) < 1:
                raise SettingError(
                    f"{self.name}: {name} is {getattr(self, name)}; it must be 1 or more"
                )
        if self.max_new_tokens < 1:
            raise SettingError(
                f"{self.name}: max_new_tokens is {self.max_new_tokens}; it must be 1 or more"
            )

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Fit what is inside, then try prompts before it and keep the best."""
        if not data.train or not data.validation:
            raise TrainingError(
                f"{self.name}: there are {len(data.train)} training and {len(data.validation)} "
                "validation examples, and prompts are made of the first and judged by the second. "
                "Add examples, or raise data.validation_fraction."
            )
        inner = save_inner(self.inner, base, data, directory)
        outer = replace(inner, directory=str(directory))
        model = Later(partial(load_inner, self.inner, outer))
        trial = _Trial(self, model, inner.digest, Kept(directory / "asked.jsonl"))
        chosen, table = trial.best(self._prompts(data, trial), data.validation)
        write_json(directory / "prompt.json", chosen)
        write_json(directory / "prompts.json", table)
        note = f"{chosen.system!r} and {len(chosen.shown)} examples, of {len(table)} prompts"
        seconds = trial.kept.seconds
        return around(self, inner, directory, made_of=chosen, seconds=seconds, note=note)

    def load(self, customization: Customization) -> LanguageModel:
        """What is inside, behind the chosen prompt."""
        chosen = read_json(Path(customization.directory) / "prompt.json", Prompt)
        return behind(load_inner(self.inner, customization), chosen)

    def _prompts(self, data: TrainingData, trial: _Trial) -> list[Prompt]:
        """Instructions with no examples, then with several choices of examples, in turn."""
        own = getattr(self.inner, "system", "")
        told = [own, *self.instructions, *INSTRUCTIONS, *_from_answers(data.train)]
        systems = list(dict.fromkeys(filter(None, told)))
        pool = [e for e in data.train if _characters(e) <= self.max_characters]
        chance = random.Random(self.seed)
        chance.shuffle(pool)
        sets = [_varied(pool, self.examples), _varied(trial.answered_right(pool), self.examples)]
        sets += [
            tuple(chance.sample(pool, min(self.examples, len(pool))))
            for _ in range(self.prompts // 4)
        ]
        shown = [some for some in dict.fromkeys(sets) if some]
        mixed = [Prompt(system, some) for some in shown for system in systems]
        chance.shuffle(mixed)
        bare = [Prompt(system) for system in systems]
        half = max(1, self.prompts // 2)
        return [*bare[:half], *mixed, *bare[half:]][: self.prompts]


class _Trial:
    """Prompts before a model, and how far its answers agree with right ones."""

    def __init__(
        self, technique: OptimizedPrompt, model: LanguageModel, who: str, kept: Kept
    ) -> None:
        self.technique = technique
        self.model = model
        self.who = who
        self.kept = kept

    def best(
        self, prompts: Sequence[Prompt], validation: Sequence[Example]
    ) -> tuple[Prompt, list[Judged]]:
        """The best of the last round, and all prompts, each as it was last judged."""
        examples = sorted(validation, key=lambda e: digest(self.technique.seed, e.id))
        examples = examples[: self.technique.validation_examples]
        left = list(dict.fromkeys(prompts))
        judged: dict[Prompt, Judged] = {}
        count = FIRST
        while True:
            count = min(count, len(examples)) if len(left) > 1 else len(examples)
            scores = {prompt: self.mean(prompt, examples[:count]) for prompt in left}
            for prompt, score in scores.items():
                ids = tuple(example.id for example in prompt.shown)
                judged[prompt] = Judged(prompt.system, ids, count, score)
            left.sort(key=lambda prompt: -scores[prompt])  # stable: earlier ones win ties
            if count == len(examples):
                return left[0], list(judged.values())
            left = left[: max(1, len(left) // 2)]
            count *= 2

    def mean(self, prompt: Prompt, examples: Sequence[Example]) -> float:
        """How far the answers behind a prompt agree with right ones."""
        return fmean(self._each(prompt, examples))

    def _each(self, prompt: Prompt, examples: Sequence[Example]) -> list[float]:
        what = f"{self.technique.name}: try a prompt"
        requests = [example.input for example in examples]
        sampling = Sampling(max_new_tokens=self.technique.max_new_tokens)
        model, who = behind(self.model, prompt), digest(self.who, prompt)
        answers = self.kept.ask(model, who, requests, sampling, what)
        return [agreement(a.text, e.targets) for e, a in zip(examples, answers, strict=True)]

    def answered_right(self, pool: Sequence[Example]) -> list[Example]:
        """Those of some training examples that the model answers right without being shown any."""
        some = list(pool[:BOOTSTRAPPED])
        found = self._each(Prompt(INSTRUCTION), some) if some else []
        return [e for e, score in zip(some, found, strict=True) if score == 1]


def behind(model: LanguageModel, prompt: Prompt) -> Prompted:
    """A model behind a prompt; requests with a system prompt of their own keep it."""
    shots = Shots(prompt.shown, len(prompt.shown), "fixed")
    return Prompted(Shown(model, shots) if prompt.shown else model, prompt.system)


def _from_answers(train: Sequence[Example]) -> list[str]:
    """Instructions that follow from what right answers are like."""
    lengths = sorted(len(words(example.targets[0])) for example in train)
    longest = max(1, lengths[int(MOST * (len(lengths) - 1))])
    told = [f"Answer in at most {longest} words." if longest > 1 else "Answer in one word."]
    common = Counter(example.targets[0] for example in train).most_common(LABELS)
    if len(common) > 1 and sum(count for _, count in common) >= MOST * len(train):
        listed = ", ".join(sorted(target for target, _ in common))
        told.append(f"Answer with one of these, and nothing else: {listed}.")
    return told


def _varied(pool: Sequence[Example], count: int) -> tuple[Example, ...]:
    return tuple(varied(pool, count))


def _characters(example: Example) -> int:
    return sum(len(m.content) for m in example.input) + len(example.targets[0])
