"""What a teacher's answers add to a technique's work: done here, or bought of a provider.

What is asked of it is counted on a sample.
"""

from __future__ import annotations

import random
from dataclasses import replace
from statistics import fmean
from typing import Any

from sartor.data.records import Example
from sartor.models import chat, local
from sartor.models.language_model import ModelCard
from sartor.models.named import card_named, tokenizer_of
from sartor.techniques.estimating.counted import SAMPLE, Counted
from sartor.techniques.estimating.drawn import Drawn
from sartor.techniques.estimating.priced import Priced, priced
from sartor.techniques.wrapping import innermost
from sartor.training.settings import TrainingSettings


def distill(work: Any, layer: Any, counted: Counted) -> Any:
    """With the teacher's answers; those of a provider's machine cost money in place of work."""
    from sartor.techniques.registry import build

    card = card_named(layer.teacher) if layer.teacher else counted.card
    teacher = build(layer.teacher_technique, layer.teacher_settings)
    if card.remote is not None:
        return replace(work, bought=(*work.bought, _bought(teacher, card, layer, counted)))
    return _answered_here(work, teacher, card, layer, counted)


def _answered_here(work: Any, teacher: Any, card: ModelCard, layer: Any, counted: Counted) -> Any:
    """In work of the base that is taught, of which the teacher may be a multiple."""
    drawn = Drawn(teacher, counted.card, counted.data, counted.tokenizer)
    asked, _, prompt = _requests(drawn)
    ratio = card.parameters / counted.card.parameters
    work = replace(
        work,
        asked_prompt_tokens=work.asked_prompt_tokens + ratio * asked * prompt,
        asked_new_tokens=work.asked_new_tokens
        + ratio * asked * min(work.answer_tokens, layer.max_new_tokens),
    )
    if layer.teacher:
        each = local.inference_dtype(card).itemsize
        work = replace(work, other_bytes=max(work.other_bytes, each * card.parameters))
    if isinstance(innermost(teacher), TrainingSettings):
        taught = counted.whole(teacher).training_tokens
        work = replace(work, training_tokens=work.training_tokens + round(ratio * taught))
    return work


def _bought(teacher: Any, card: ModelCard, layer: Any, counted: Counted) -> Priced:
    """As long as right answers, in the tokens of the provider's model."""
    tokenizer = tokenizer_of(card)
    asked, few, prompt = _requests(Drawn(teacher, card, counted.data, tokenizer))
    right = [target for e in few for target in e.targets[:1]]
    most = layer.max_new_tokens
    answer = fmean(len(chat.encode_answer(tokenizer, one)) for one in right) if right else most
    return priced(card, asked, asked * prompt, asked * min(answer, most))


def _requests(drawn: Drawn) -> tuple[int, list[Example], float]:
    """How many a teacher is asked, some of them, and the mean tokens of one, virtual included."""
    asked = (*drawn.data.train, *drawn.data.disliked)
    few = random.Random(0).sample(asked, min(SAMPLE, len(asked)))
    return len(asked), few, fmean(len(drawn.prompt(e)) for e in few) + drawn.virtual
