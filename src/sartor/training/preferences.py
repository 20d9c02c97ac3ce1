"""Objectives over judged answers: DPO, ORPO and KTO.

Each asks only for the log-probability of whole answers, so answers to one request share it in a
pack. The reference model is the network as training found it: what it gives is computed once, and
no second network is held.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sartor.data.files import digest
from sartor.data.records import Example, TrainingData
from sartor.models import chat
from sartor.training.objective import VALIDATION_EXAMPLES, Reading
from sartor.training.packing import SHORTEST_ANSWER, Encoded, packs
from sartor.training.processes import team
from sartor.training.sharding import is_sharded, run

if TYPE_CHECKING:
    import torch

    from sartor.models.prefix import Prefix

HELD = 5
"""Where no validation example is judged, every so many-th training example is held out instead."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A right and a rejected answer to one request."""

    id: str
    tokens: tuple[int, ...]
    """The prompt, the right answer, and the rejected one."""
    prompt: int
    right: Encoded
    rejected: Encoded


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


def pairs_of(examples: Sequence[Example]) -> list[Example]:
    """Those that have both a right answer and a rejected one."""
    return [example for example in examples if example.targets and example.rejected]


def parted(judged: Sequence[Example], held: Sequence[Example]) -> tuple[list[Example], ...]:
    """Judged examples to train on and to watch: of the training part where validation has none."""
    watched = sorted(held, key=lambda e: e.id)[:VALIDATION_EXAMPLES]
    if watched or len(judged) < 2:
        return list(judged), watched or list(judged)
    order = sorted(judged, key=lambda e: digest(e.id))
    return [e for i, e in enumerate(order) if i % HELD], order[::HELD]


@dataclass
class Pairs(ABC):
    """What DPO and ORPO share: pairs, and the log-probabilities of both answers."""

    reference: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By pair: log-probabilities of the right and of the rejected answer at first."""

    def read(self, reading: Reading, data: TrainingData) -> tuple[list[Pair], list[Pair]]:
        train, held = parted(pairs_of(data.train), pairs_of(data.validation))
        return self._read(reading, train), self._read(reading, held)

    def _read(self, reading: Reading, examples: Sequence[Example]) -> list[Pair]:
        made = [
            Pair(one.id, (*right.tokens, *one.tokens[one.prompt :]), one.prompt, right, one)
            for e in examples
            for right in _encoded(reading, e, e.targets[:1], "right")
            for one in _encoded(reading, e, e.rejected, "rejected")
        ]
        if self._needs_reference:
            self.refer(reading, made)
        return made

    def refer(self, reading: Reading, pairs: Sequence[Pair]) -> None:
        """Take the network as it is now for the reference of these pairs."""
        found = _chances(reading, pairs, lambda pair: (pair.right, pair.rejected))
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
        judged = [
            (answer, good)
            for e in examples
            for good, texts in ((True, e.targets[:1]), (False, e.rejected))
            for answer in _encoded(reading, e, texts, "right" if good else "rejected")
        ]
        made = []
        for place, (one, good) in enumerate(judged):
            before = _elsewhere([answer for answer, _ in judged], place)
            tokens = (*one.tokens[: one.prompt], *before.tokens[before.prompt :])
            other = Encoded(one.id, tokens[: reading.context], one.prompt)
            made.append(Thumb(one.id, one.tokens, one.prompt, good, other))
        found = _chances(reading, made, lambda thumb: (thumb.said, thumb.other), parts=2)
        for thumb, (first, of_other) in zip(made, found, strict=True):
            self.reference[thumb.id] = (first, of_other)
        return made

    def weight(self, item: Thumb) -> float:
        """Every thumb counts the same in the mean; `weights` are in the loss, as in the paper."""
        return 1.0

    def begin(self, network: Any, batch: Sequence[Thumb], reading: Reading) -> None:
        """Measure how far the model has moved, on the whole batch."""
        now = _chances(reading, batch, lambda thumb: (thumb.other,), as_it_is=True)
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


def _encoded(reading: Reading, example: Example, texts: Sequence[str], kind: str) -> list[Encoded]:
    """Each answer after its request; none where the request fills the context."""
    prompt = chat.encode(reading.tokenizer, example.input)
    made = []
    for number, text in enumerate(texts):
        answer = chat.encode_answer(reading.tokenizer, text)
        if len(prompt) + min(SHORTEST_ANSWER, len(answer)) <= reading.context:
            tokens = (*prompt, *answer)[: reading.context]
            made.append(Encoded(f"{example.id} {kind} {number}", tokens, len(prompt)))
    return made


def _chances(
    reading: Reading, items: Sequence[Any], answers: Callable[[Any], tuple[Encoded, ...]], *,
    parts: int = 1, as_it_is: bool = False,
) -> list[tuple[float, ...]]:  # fmt: skip
    """Log-probabilities of each item's answers by the network of now, without dropout unless it is
    taken `as_it_is`; where several processes train together, each works out a part. An item's
    answers have at most `parts` times its tokens."""

    def work(some: Sequence[Any]) -> list[list[float]]:
        found = []
        for pack in packs(some, reading.pack_tokens // parts):
            now = _now(reading, [a for item in pack for a in answers(item)], as_it_is=as_it_is)
            found += [now[at : at + many] for at in range(0, len(now), many)]
        return found

    many = len(answers(items[0])) if items else 1
    return team().divided(items, work, many, in_step=is_sharded(reading.network))


def _now(reading: Reading, answers: Sequence[Encoded], *, as_it_is: bool) -> list[float]:
    import torch

    from sartor.training.log_chances import answer_log_chances

    if not as_it_is:
        reading.network.eval()
    with torch.no_grad(), reading.autocast():
        virtual = reading.virtual()
        found = run(reading.network, lambda: answer_log_chances(reading.network, answers, virtual))
    told: list[float] = found.tolist()
    return told


def _elsewhere(answers: Sequence[Encoded], place: int) -> Encoded:
    """The nearest answer before this one to another request, as TRL pairs them."""
    prompt = answers[place].tokens[: answers[place].prompt]
    for step in range(1, len(answers)):
        other = answers[place - step]
        if other.tokens[: other.prompt] != prompt:
            return other
    return answers[place - 1]


def _lengths(answers: Sequence[Encoded], like: torch.Tensor) -> torch.Tensor:
    return like.new_tensor([len(answer.tokens) - answer.prompt for answer in answers])


def _log_of_not(log_chance: torch.Tensor) -> torch.Tensor:
    """log(1 - p) from log p, near both ends (Maechler 2012, equation 7)."""
    import torch

    below = log_chance.clamp(max=-1e-7)
    near = torch.log(-torch.expm1(below))
    return torch.where(below > -0.693, near, torch.log1p(-torch.exp(below)))
