"""Distillation: a teacher answers the training requests, and what is inside trains on its answers.

The teacher is a larger model, or the same one behind passages or examples that the student will do
without. Sequence-level knowledge distillation: Kim and Rush 2016, arXiv:1606.07947, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass as record
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from sartor.data.files import digest
from sartor.data.records import Example, TrainingData
from sartor.errors import ModelError, SettingError, TrainingError
from sartor.models.language_model import LanguageModel, ModelCard, Sampling
from sartor.models.named import card_named
from sartor.settings import STRICT
from sartor.techniques.agreement import agreement
from sartor.techniques.asked import Answer, Kept, Later
from sartor.techniques.estimating.drawn import layers
from sartor.techniques.lora import LoRA
from sartor.techniques.technique import Customization, Technique
from sartor.techniques.trained import TrainedTechnique
from sartor.techniques.wrapping import around, innermost, load_inner, save_inner
from sartor.tracking.tracker import stage

UNTAUGHT = frozenset({"zero-shot", "rag"})
"""Techniques that show a teacher no right answers."""
REFUSALS = ("i don't know", "i do not know", "i cannot", "i can't", "i'm not sure", "sorry")
"""How answers begin that are none."""


@record(frozen=True)
class Taught:
    """Training examples with a teacher's answers, and how it went."""

    train: tuple[Example, ...]
    asked: int
    kept: int
    seconds: float


@dataclass(frozen=True, config=STRICT)
class Distill:
    """Trains the technique inside on a teacher's answers."""

    name: ClassVar[str] = "distill"
    reads_documents: ClassVar[bool] = True
    inner: Any = LoRA()
    """The student."""
    teacher: str = ""
    """The teacher's base: a folder or a Hugging Face id. Empty: the student's own base, which then
    learns to do without what the teacher is shown."""
    teacher_technique: str = "few-shot"
    """How the teacher answers: `few-shot`, `rag`, `rag+few-shot`, `lora` and so on."""
    teacher_settings: dict[str, Any] = field(default_factory=dict)
    """Settings of that technique."""
    max_new_tokens: int = 256
    """Longest answer."""
    keep_cut_off: bool = False
    """Whether to learn answers that did not come to an end there too."""
    agreement: float = 0.0
    """Drop answers that agree less than this with the right one, by word F1; 0 keeps all."""
    own_answers: bool = True
    """Train on an example's own right answer where the teacher's is dropped; else leave it out."""

    def __post_init__(self) -> None:
        if not isinstance(innermost(self.inner), TrainedTechnique):
            raise SettingError(
                f"distill: {getattr(self.inner, 'name', self.inner)} inside it learns nothing. Put "
                "a technique that trains inside, such as 'distill+lora'."
            )
        if not 0 <= self.agreement <= 1:
            raise SettingError(f"distill: agreement is {self.agreement}; it lies in [0, 1]")
        if self.max_new_tokens < 1:
            raise SettingError(
                f"distill: max_new_tokens is {self.max_new_tokens}; it must be 1 or more"
            )
        if not self.teacher and self.teacher_technique == "zero-shot":
            raise SettingError(
                "distill: the teacher is the student's own base, and is shown nothing more. Name a "
                "larger `teacher`, or a `teacher_technique` such as 'few-shot' or 'rag'."
            )
        self._teacher()  # refuses what it cannot be made of

    @property
    def asks(self) -> tuple[str, ...]:
        """Other models whose answers this learns from."""
        return (self.teacher,) if self.teacher else ()

    def refuse(self, base: ModelCard) -> None:
        """ModelError where there is no such teacher, or it cannot answer in that way."""
        card = self._card(base)
        stack = layers(self._teacher())
        needy = [one.name for one in stack if getattr(one, "needs_weights", False)]
        if card.remote is not None and needy:
            raise ModelError(
                f"distill: teacher_technique trains weights ({needy[0]}), and the teacher "
                f"{card.name!r} is a remote model, whose weights are not here. Have it answer by "
                "'zero-shot', 'few-shot' or 'rag'."
            )

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Have the teacher answer, and train on that; TrainingError where all is dropped."""
        asked = (*data.train, *data.disliked)
        taught = self._taught(base, data, asked, directory)
        learned = replace(data, train=taught.train)
        inner = save_inner(self.inner, base, learned, directory)
        return around(
            self,
            inner,
            directory,
            made_of=[example.targets for example in taught.train],
            seconds=taught.seconds,
            note=f"{taught.kept} of {taught.asked} answers of the teacher kept",
        )

    def load(self, customization: Customization) -> LanguageModel:
        """The student."""
        return load_inner(self.inner, customization)

    def _teacher(self) -> Technique:
        from sartor.techniques.registry import build

        return build(self.teacher_technique, self.teacher_settings)

    def _card(self, base: ModelCard) -> ModelCard:
        return card_named(self.teacher) if self.teacher else base

    def _taught(
        self, base: ModelCard, data: TrainingData, asked: Sequence[Example], directory: Path
    ) -> Taught:
        kept = Kept(directory / "teacher" / "answers.jsonl")
        card, technique = self._card(base), self._teacher()
        answers: dict[str, Answer] = {}
        seconds = 0.0
        for number, (seen, part) in enumerate(self._folds(data, asked)):
            folder = directory / "teacher" / str(number)
            with stage(f"teacher {number + 1}"):
                made = save_inner(technique, card, seen, folder)
            model = Later(partial(technique.load, made))
            what = f"distill: {technique.name} on {card.name} answers"
            requests = [example.input for example in part]
            sampling = Sampling(max_new_tokens=self.max_new_tokens)
            found = kept.ask(model, made.digest, requests, sampling, what)
            answers |= {example.id: one for example, one in zip(part, found, strict=True)}
            seconds += made.seconds
        learned = {e.id: self._learned(e, answers[e.id]) for e in asked}
        count = sum(one is not None for one in learned.values())
        if not count:
            raise TrainingError(
                f"distill: none of the teacher's {len(asked)} answers can be learned from: they "
                "are empty, cut off, refusals, rejected, or agree too little with right ones. See "
                f"{kept.path}; choose another teacher, or lower `agreement`."
            )
        own = {e.id: e for e in asked if self.own_answers and e.targets}
        train = [learned[e.id] or own.get(e.id) for e in asked]
        present = tuple(example for example in train if example is not None)
        return Taught(present, len(asked), count, seconds + kept.seconds)

    def _folds(
        self, data: TrainingData, asked: Sequence[Example]
    ) -> list[tuple[TrainingData, list[Example]]]:
        """What a teacher sees, and what it is asked: never an answer it was shown."""
        if UNTAUGHT.issuperset(self.teacher_technique.split("+")):
            return [(data, list(asked))]
        side = {e.id: int(digest(e.group or e.id), 16) % 2 for e in asked}
        if len({side[e.id] for e in data.train}) < 2:
            side = {e.id: place % 2 for place, e in enumerate(asked)}
        return [
            (
                replace(data, train=tuple(e for e in data.train if side[e.id] != half)),
                [e for e in asked if side[e.id] == half],
            )
            for half in (0, 1)
        ]

    def _learned(self, example: Example, answer: Answer) -> Example | None:
        """The example with the teacher's answer first; None where that is dropped."""
        text = answer.text.strip()
        plain = text.casefold().replace("\u2019", "'")
        declined = plain.startswith(REFUSALS) and example.answerable
        cut_off = answer.finish != "stop" and not self.keep_cut_off
        if not text or cut_off or declined:
            return None
        if any(agreement(text, [wrong]) == 1 for wrong in example.rejected):
            return None
        if example.targets and agreement(text, example.targets) < self.agreement:
            return None
        return replace(example, targets=tuple(dict.fromkeys([text, *example.targets])))
