"""Judged answers as tokens, and their log-probabilities: what all objectives over them need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sartor.data.files import digest
from sartor.data.records import Example
from sartor.models import chat
from sartor.training.fitted import Fitted
from sartor.training.objective import VALIDATION_EXAMPLES, Reading
from sartor.training.packing import Encoded, packs
from sartor.training.processes import team
from sartor.training.sharding import is_sharded, run

HELD = 5
"""Where no validation example is judged, every so many-th training example is held out instead."""


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


def encoded(
    reading: Reading, fitted: Fitted, example: Example, texts: Sequence[str], kind: str
) -> list[Encoded]:
    """Each answer after its request; none where the request fills the context."""
    prompt = chat.encode(reading.tokenizer, example.input)
    made = []
    for number, text in enumerate(texts):
        answer = chat.encode_answer(reading.tokenizer, text)
        if tokens := fitted.tokens(prompt, answer):
            made.append(Encoded(f"{example.id} {kind} {number}", tokens, len(prompt)))
    return made


def chances(
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
