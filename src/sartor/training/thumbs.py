"""The objective over answers that were judged by themselves: KTO.

The reference model is the network as training found it: what it gives is computed once, and no
second network is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sartor.data.records import Example, TrainingData
from sartor.training.fitted import Fitted
from sartor.training.judged import chances, encoded, parted
from sartor.training.objective import Reading
from sartor.training.packing import Encoded

if TYPE_CHECKING:
    import torch

    from sartor.models.prefix import Prefix


@dataclass(frozen=True, slots=True)
class Thumb:
    """An answer that was judged by itself."""

    id: str
    tokens: tuple[int, ...]
    prompt: int
    good: bool
    other: Encoded
    """The same request with the answer to another one: how far the model has moved in general."""

    @property
    def said(self) -> Encoded:
        return Encoded(self.id, self.tokens, self.prompt)


@dataclass
class KTO:
    """Kahneman-Tversky optimization: Ethayarajh et al. 2024, arXiv:2402.01306, equation 8.

    Thumbs by themselves, each weighted so that good and bad ones count the same in all.
    """

    beta: float = 0.1
    reference: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By thumb: log-probabilities of its answer and of the other one at first."""
    weights: dict[bool, float] = field(default_factory=lambda: {True: 1.0, False: 1.0})
    moved: float = 0.0
    """How far the model has moved from the reference on other answers (z0 in the paper)."""

    def read(self, reading: Reading, data: TrainingData) -> tuple[list[Thumb], list[Thumb]]:
        """Right answers are good thumbs, rejected ones bad."""
        bad = [e for e in (*data.train, *data.disliked) if e.rejected]
        train, held = parted(bad, [e for e in data.validation if e.rejected])
        good = [e for e in data.train if not e.rejected]
        watched = [e for e in data.validation if not e.rejected][: len(held)]
        made = self._read(reading, [*train, *good]), self._read(reading, [*held, *watched])
        counts = {kind: sum(thumb.good is kind for thumb in made[0]) for kind in (True, False)}
        for kind, count in counts.items():
            self.weights[kind] = max(counts.values()) / max(1, count)
        return made

    def _read(self, reading: Reading, examples: Sequence[Example]) -> list[Thumb]:
        fitted = Fitted(reading.context)
        judged = [
            (answer, good)
            for e in examples
            for good, texts in ((True, e.targets[:1]), (False, e.rejected))
            for answer in encoded(reading, fitted, e, texts, "right" if good else "rejected")
        ]
        fitted.tell("judged answers")
        answers = [answer for answer, _ in judged]
        made = []
        for place, (one, good) in enumerate(judged):
            before = _elsewhere(answers, place)
            tokens = (*one.tokens[: one.prompt], *before.tokens[before.prompt :])
            other = Encoded(one.id, tokens[: reading.context], one.prompt)
            made.append(Thumb(one.id, one.tokens, one.prompt, good, other))
        found = chances(reading, made, lambda thumb: (thumb.said, thumb.other), parts=2)
        for thumb, (first, of_other) in zip(made, found, strict=True):
            self.reference[thumb.id] = (first, of_other)
        return made

    def weight(self, item: Thumb) -> float:
        """Every thumb counts the same in the mean; `weights` are in the loss, as in the paper."""
        return 1.0

    def begin(self, network: Any, batch: Sequence[Thumb], reading: Reading) -> None:
        """Measure how far the model has moved, on the whole batch."""
        now = chances(reading, batch, lambda thumb: (thumb.other,), as_it_is=True)
        moved = sum(chance for (chance,) in now) - sum(self.reference[t.id][1] for t in batch)
        self.moved = max(0.0, moved / len(batch))

    def loss(
        self, network: Any, pack: Sequence[Thumb], virtual: torch.Tensor | Prefix | None
    ) -> torch.Tensor:
        """The sum of the thumbs' losses."""
        import torch

        from sartor.training.log_chances import answer_log_chances

        found = answer_log_chances(network, [thumb.said for thumb in pack], virtual)
        first = found.new_tensor([self.reference[thumb.id][0] for thumb in pack])
        sign = found.new_tensor([1.0 if thumb.good else -1.0 for thumb in pack])
        weight = found.new_tensor([self.weights[thumb.good] for thumb in pack])
        value = torch.sigmoid(sign * self.beta * (found - first - self.moved))
        return (weight * (1 - value)).sum()


def _elsewhere(answers: Sequence[Encoded], place: int) -> Encoded:
    """The nearest answer before this one to another request, as TRL pairs them."""
    prompt = answers[place].tokens[: answers[place].prompt]
    for step in range(1, len(answers)):
        other = answers[place - step]
        if other.tokens[: other.prompt] != prompt:
            return other
    return answers[place - 1]
