"""What a candidate would take, by arithmetic, and whether that fits: nothing is tried.

What is tried on this machine instead is told in the same form (estimate.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sartor.models.devices import Device, Limit
from sartor.models.language_model import ModelCard
from sartor.models.outline import Outline
from sartor.techniques.estimating.arithmetic import BESIDE, peak_bytes, seconds
from sartor.techniques.estimating.chosen import chosen
from sartor.techniques.estimating.nearest import nearest
from sartor.techniques.estimating.peaks import host_refusal, is_quantized
from sartor.techniques.estimating.workload import Workload
from sartor.techniques.wrapping import innermost

COUNTED_HOW = "by arithmetic"


@dataclass(frozen=True, slots=True)
class Estimated:
    """What a candidate would take."""

    seconds_to_customize: float
    """At most: training stops sooner where validation no longer improves."""
    seconds_an_epoch: float
    """One pass over the training examples; 0 where nothing is trained."""
    seconds_to_answer: float
    """All answers, if they are as long as the right ones."""
    seconds_per_answer: float
    training_tokens: int
    """At most, of all learning rates' tries and the whole run."""
    peak_memory_bytes: int
    how: str
    """How this came to be known, for people."""
    fits: bool = True
    why: str = ""
    """Why it does not fit, and what to do; empty when it does."""
    note: str = ""
    """What is done so that it fits, and what is not told."""
    paid: float = 0.0
    """To providers, for answers that are learned from; in the project's currency."""


def counted(
    technique: Any, work: Workload, card: ModelCard, shape: Outline, active: float,
    device: Device, answers: int, new_tokens: int, *, beside: float = BESIDE,
) -> Estimated:  # fmt: skip
    """By arithmetic, for a device; memory is of each where there are several."""
    customize, epoch, each = seconds(work, shape, active, device, new_tokens, card.parameters)
    quantized = is_quantized(innermost(technique))
    peak = peak_bytes(work, shape, card.parameters, new_tokens, quantized=quantized)
    return Estimated(
        seconds_to_customize=customize,
        seconds_an_epoch=epoch,
        seconds_to_answer=answers * each,
        seconds_per_answer=each,
        training_tokens=work.training_tokens,
        peak_memory_bytes=round(peak + beside),
        how=COUNTED_HOW,
    )


def judged(
    found: Estimated, technique: Any, work: Workload, card: ModelCard, shape: Outline,
    allowed: Limit, new_tokens: int,
) -> Estimated:  # fmt: skip
    """With whether it fits in what it may take and in the base's context, by what is left to us
    where that makes it fit; and if not, what would."""
    peak, most = found.peak_memory_bytes, allowed.bytes
    if work.longest_prompt >= card.context:
        virtual = int(getattr(innermost(technique), "virtual_tokens", 0))
        counted = f" {virtual} virtual ones counted," if virtual else ""
        fewer = " set fewer virtual_tokens," if virtual else ""
        why = (
            f"requests have up to {work.longest_prompt:,} tokens,{counted} but {card.name} reads "
            f"at most {card.context:,}, the answer included. Shorten them,{fewer} or choose "
            "another base."
        )
        return replace(found, fits=False, why=why)
    if why := host_refusal(work, shape, card.parameters, allowed):
        return replace(found, fits=False, why=why)
    if peak <= most:
        return found
    given = (technique, work, card, shape, peak, allowed, new_tokens)
    if (ways := chosen(*given)) is not None:
        told = f"{ways.said}, as without it {peak / 1e9:.3g} GB were needed"
        return replace(
            found,
            seconds_to_customize=found.seconds_to_customize * ways.slower,
            seconds_an_epoch=found.seconds_an_epoch * ways.slower,
            peak_memory_bytes=round(ways.peak),
            note=told,
        )
    needs = f"it needs about {peak / 1e9:.3g} GB of memory, and {allowed.why}"
    return replace(found, fits=False, why=f"{needs}. {nearest(*given)}")


def with_bought(found: Estimated, work: Workload) -> Estimated:
    """With the answers of remote models that are learned from: money, and about how long."""
    if not work.bought:
        return found
    dear = next((one.why for one in work.bought if one.why), "")
    notes = [note for note in (found.note, *(one.note for one in work.bought)) if note]
    return replace(
        found,
        seconds_to_customize=found.seconds_to_customize + sum(one.seconds for one in work.bought),
        paid=sum(one.cost for one in work.bought),
        fits=found.fits and not dear,
        why=found.why or dear,
        note="; ".join(notes),
    )


def joined(first: Estimated, then: Estimated) -> Estimated:
    """One after the other."""
    return replace(
        then,
        seconds_to_customize=first.seconds_to_customize + then.seconds_to_customize,
        seconds_an_epoch=first.seconds_an_epoch + then.seconds_an_epoch,
        training_tokens=first.training_tokens + then.training_tokens,
        peak_memory_bytes=max(first.peak_memory_bytes, then.peak_memory_bytes),
        fits=first.fits and then.fits,
        why=first.why or then.why,
        note=first.note or then.note,
        paid=first.paid + then.paid,
    )
