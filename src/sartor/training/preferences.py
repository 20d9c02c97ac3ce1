"""Objectives over pairs of a right and a rejected answer: DPO and ORPO.

Each asks only for the log-probability of whole answers, so answers to one request share it in a
pack. The reference model is the network as training found it: what it gives is computed once, and
no second network is held.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sartor.data.records import Example, TrainingData
from sartor.errors import TrainingError
from sartor.training.fitted import Fitted
from sartor.training.judged import chances, encoded, pairs_of, parted
from sartor.training.objective import Reading
from sartor.training.packing import Encoded

if TYPE_CHECKING:
    import torch

    from sartor.models.prefix import Prefix


@dataclass(frozen=True, slots=True)
class Pair:
    """A right and a rejected answer to one request."""

    id: str
    tokens: tuple[int, ...]
    """The prompt, the right answer, and the rejected one."""
    prompt: int
    right: Encoded
    rejected: Encoded


@dataclass
class Pairs(ABC):
    """What DPO and ORPO share: pairs, and the log-probabilities of both answers."""

    reference: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By pair: log-probabilities of the right and of the rejected answer at first."""

    def read(self, reading: Reading, data: TrainingData) -> tuple[list[Pair], list[Pair]]:
        train, held = parted(pairs_of(data.train), pairs_of(data.validation))
        return self._read(reading, train), self._read(reading, held)

    def _read(self, reading: Reading, examples: Sequence[Example]) -> list[Pair]:
        fitted = Fitted(reading.context)
        answers = [
            (
                encoded(reading, fitted, e, e.targets[:1], "right"),
                encoded(reading, fitted, e, e.rejected, "rejected"),
            )
            for e in examples
        ]
        made = [
            Pair(one.id, (*right.tokens, *one.tokens[one.prompt :]), one.prompt, right, one)
            for [right], rejected in (pair for pair in answers if pair[0])
            for one in rejected
        ]
        fitted.tell("judged answers")
        if not made:
            raise TrainingError(
                f"nothing to train on: of {len(examples)} examples none has a right and a rejected "
                f"answer that fit the model's context of {reading.context} tokens. Shorten them, "
                "or choose a longer context."
            )
        if self._needs_reference:
            self.refer(reading, made)
        return made

    def refer(self, reading: Reading, pairs: Sequence[Pair]) -> None:
        """Take the network as it is now for the reference of these pairs."""
        found = chances(reading, pairs, lambda pair: (pair.right, pair.rejected))
        for pair, (right, rejected) in zip(pairs, found, strict=True):
            self.reference[pair.id] = (right, rejected)

    _needs_reference = True

    def weight(self, item: Pair) -> float:
        """Every pair counts the same."""
        return 1.0

    def begin(self, network: Any, batch: Sequence[Pair], reading: Reading) -> None:
        return None

    def loss(
        self, network: Any, pack: Sequence[Pair], virtual: torch.Tensor | Prefix | None
    ) -> torch.Tensor:
        """The sum of the pairs' losses."""
        from sartor.training.log_chances import answer_log_chances

        answers = [answer for pair in pack for answer in (pair.right, pair.rejected)]
        found = answer_log_chances(network, answers, virtual)
        return self.of(pack, found[0::2], found[1::2]).sum()

    @abstractmethod
    def of(self, pack: Sequence[Pair], right: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        """The loss of each pair from its answers' log-probabilities, all (pairs,)."""


@dataclass
class DPO(Pairs):
    """Direct preference optimization: Rafailov et al. 2023, arXiv:2305.18290, equation 7.

    With `smoothing`, the chance that a judgement is wrong, conservative DPO (Mitchell 2023); with
    `answers`, the cross-entropy of right answers is added, a token's mean times it (Pang et al.
    2024, arXiv:2404.19733, equation 1), so that right answers do not become rarer themselves.
    """

    beta: float = 0.1
    smoothing: float = 0.0
    answers: float = 0.0

    def of(self, pack: Sequence[Pair], right: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        import torch
        from torch.nn.functional import logsigmoid

        first = torch.tensor([self.reference[pair.id] for pair in pack], device=right.device)
        moved = (right - first[:, 0]) - (rejected - first[:, 1])
        loss = -(1 - self.smoothing) * logsigmoid(self.beta * moved)
        loss = loss - self.smoothing * logsigmoid(-self.beta * moved)
        return loss - self.answers * right / _lengths([p.right for p in pack], right)


@dataclass
class ORPO(Pairs):
    """Odds ratio preference optimization: Hong et al. 2024, arXiv:2403.07691, equations 6 and 7.

    Answers and preferences at once, without a reference; an answer's chance is its tokens'
    geometric mean.
    """

    beta: float = 0.1
    _needs_reference = False

    def of(self, pack: Sequence[Pair], right: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import logsigmoid

        good = right / _lengths([pair.right for pair in pack], right)
        bad = rejected / _lengths([pair.rejected for pair in pack], rejected)
        odds = (good - bad) - (_log_of_not(good) - _log_of_not(bad))
        return -good - self.beta * logsigmoid(odds)


def _lengths(answers: Sequence[Encoded], like: torch.Tensor) -> torch.Tensor:
    return like.new_tensor([len(answer.tokens) - answer.prompt for answer in answers])


def _log_of_not(log_chance: torch.Tensor) -> torch.Tensor:
    """log(1 - p) from log p, near both ends (Maechler 2012, equation 7)."""
    import torch

    below = log_chance.clamp(max=-1e-7)
    near = torch.log(-torch.expm1(below))
    return torch.where(below > -0.693, near, torch.log1p(-torch.exp(below)))
