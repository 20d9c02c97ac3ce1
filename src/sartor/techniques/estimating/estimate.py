"""What a technique will take on this machine: seconds and memory, before anything is spent.

How much work there is comes from workload.py, how fast this machine does it and what it holds at
once from probe.py. A base too large to be tried is counted instead (arithmetic.py).
benchmarks/estimates.py compares all this with what is measured.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, replace
from typing import Any

from sartor.data.records import TrainingData
from sartor.errors import MissingExtraError, SartorError
from sartor.models import libraries, local
from sartor.models.devices import memory, this_machine
from sartor.models.language_model import ModelCard
from sartor.models.outline import Outline, outline
from sartor.techniques.estimating.answering import answering_bytes
from sartor.techniques.estimating.arithmetic import at_once, held_bytes, passing, training_bytes
from sartor.techniques.estimating.copies_asked import ASKED
from sartor.techniques.estimating.division import ALONE
from sartor.techniques.estimating.drawn import Drawn
from sartor.techniques.estimating.extra_work import reading_texts
from sartor.techniques.estimating.fitting import by_its_name
from sartor.techniques.estimating.judging import (
    COUNTED_HOW,
    Estimated,
    counted,
    joined,
    judged,
    with_bought,
)
from sartor.techniques.estimating.peaks import is_quantized, limit_of
from sartor.techniques.estimating.probe import Probe, Probed
from sartor.techniques.estimating.workload import Workload, of_texts, workload
from sartor.techniques.wrapping import innermost

OPENING, INDEXING, SEARCHING, SCANNING = 1.2, 2.5e-4, 8e-3, 1e-6
"""Seconds to open an index, for each passage in it, to search for a request, and for each passage
passed over in that; on one core, of LanceDB with 3,000 and 12,000 passages."""
RETRIEVAL = 170 << 20
"""Bytes that LanceDB, pyarrow and wordllama take once they are in use."""
TRIED = "tried on this machine with copies of few layers"
SHAPES_A_STEP, STEPS_TRIED, SHAPES, SHAPE = 64, 2, 1024, 1 << 19
"""oneDNN keeps buffers for each size of matrix product it has met: so many new ones a step, of
which so many steps are tried, at most so many sizes, each so many bytes and the model's width for
each token. In bfloat16 on a CPU; environment variables set how many are kept (libraries.CACHES)."""
FORWARD = {"everything": 1 / 3, "adapter": 1 / 2}
"""Part of a step that is its forward pass; frozen weights get no gradient of their own."""


def estimated(
    technique: Any, card: ModelCard, data: TrainingData, answers: int, new_tokens: int,
    written: float | None = None, probe: Probe | None = None,
) -> Estimated:  # fmt: skip
    """What a technique would take on this machine, on these data: tried, or else counted.

    Gives `answers` of at most `new_tokens`, in the mean of `written`, else as long as right ones.
    `probe` is that of the base, which spares other candidates what this one tries.
    """
    if probe is None:
        with Probe(card) as own:
            return estimated(technique, card, data, answers, new_tokens, written, own)
    tokenizer = local.load_tokenizer(card)
    try:
        import peft  # noqa: F401  (a run imports it too, and its memory counts)
    except ModuleNotFoundError as error:
        raise MissingExtraError("an estimate", "peft", "local") from error
    resident = probe.resident
    drawn = Drawn(technique, card, data, tokenizer)
    work = workload(technique, card, data, tokenizer)
    if written is not None:
        work = replace(work, answer_tokens=written)
    new_tokens = max(1, min(new_tokens, card.context - work.longest_prompt))

    def one(technique: Any, work: Workload, drawn: Drawn, answers: int) -> Estimated:
        tried = _Tried(technique, work, drawn, probe, resident, answers, new_tokens)
        found = judged(
            tried.found(card, data, tokenizer), technique, work, card, outline(card),
            limit_of(work), new_tokens,
        )  # fmt: skip
        return with_bought(found, work)

    found = one(technique, work, drawn, answers)
    if (text := reading_texts(technique)) is None or not data.documents:
        return found
    stage = text.stage()
    read = of_texts(text, card, data, tokenizer)
    first = one(stage, read, Drawn(stage, card, data, tokenizer), 0)
    return joined(replace(first, why=by_its_name(first.why, text.name, stage.name)), found)


@dataclass(frozen=True, slots=True)
class _Tried:
    """A technique to be tried, or else counted."""

    technique: Any
    work: Workload
    drawn: Drawn
    probe: Probe
    resident: int
    answers: int
    new_tokens: int

    def found(self, card: ModelCard, data: TrainingData, tokenizer: Any) -> Estimated:
        few = random.Random(0).sample(data.train, min(ASKED, len(data.train)))
        prompts = [self.drawn.put(example).input for example in few]
        work, core = self.work, innermost(self.technique)
        if held_bytes(work, card.parameters, is_quantized(core)) > memory():
            return self._counted(card, "its weights alone do not fit")
        try:
            seen = self.probe.of(as_one(core, work), data, self.drawn, tokenizer, prompts)
        except MissingExtraError as error:
            return replace(self._counted(card, "a package is missing"), fits=False, why=str(error))
        except (ValueError, SartorError, NotImplementedError, RuntimeError) as error:
            return self._counted(card, str(error).split("\n")[0])
        seen = _divided(seen, outline(card), card, work, is_quantized(core))
        if work.scores_everything:
            usual = workload(self.technique, card, data, tokenizer)
            seen = _scoring_everything(seen, outline(card), card, work, usual)
        return estimate(work, card, seen, self.resident, self.answers, self.new_tokens)

    def _counted(self, card: ModelCard, why: str) -> Estimated:
        """By arithmetic, and why it was not tried."""
        found = counted(
            self.technique, self.work, card, outline(card), card.parameters, this_machine(),
            self.answers, self.new_tokens, beside=self.resident,
        )  # fmt: skip
        return replace(found, how=f"{COUNTED_HOW}; not tried: {why}")


def as_one(core: Any, work: Workload) -> Any:
    """The technique that one process can try in place of what one of several does: its part of the
    batch."""
    count = work.division.processes
    if count == 1:
        return core
    return replace(core, batch_size=-(-core.batch_size // count), sharding="none")


def _divided(
    seen: Probed, shape: Outline, card: ModelCard, work: Workload, quantized: bool
) -> Probed:
    """What was tried with a part of the batch, for one of the processes that divide it."""
    if work.division.processes == 1:
        return seen
    alone = replace(work, division=ALONE)
    one, several = (
        training_bytes(each, shape, card.parameters, quantized) for each in (alone, work)
    )
    return replace(seen, customizing_bytes=seen.customizing_bytes + several - one)


def _scoring_everything(
    seen: Probed, shape: Outline, card: ModelCard, work: Workload, usual: Workload
) -> Probed:
    """What was tried on answers, for training that scores every token of full packs: the head works
    on all of them."""
    head = shape.vocabulary * shape.hidden
    part = 1 + head / max(1, card.parameters - head)
    more = max(0.0, at_once(work, shape) - at_once(usual, shape))
    return replace(
        seen,
        seconds_a_token=seen.seconds_a_token * part,
        seconds_a_look=seen.seconds_a_look * part,
        customizing_bytes=seen.customizing_bytes + more,
    )


def estimate(
    work: Workload, card: ModelCard, seen: Probed, resident: int, answers: int, new_tokens: int
) -> Estimated:
    """Seconds and memory to customize `card`, then to give `answers` of at most `new_tokens`;
    `resident` is what the process takes before, in bytes."""
    new_tokens = max(1, min(new_tokens, card.context - work.longest_prompt))
    each = _answer_seconds(work, seen, new_tokens)
    beside = resident + seen.set_aside_bytes + _shapes(work, card)
    beside += RETRIEVAL if work.passages else 0
    # what training held is given back before a network is loaded to answer (local.py)
    answering = answering_bytes(work, card, seen, new_tokens)
    peak = max(seen.customizing_bytes, answering, work.other_bytes)
    return Estimated(
        seconds_to_customize=_customize_seconds(work, seen, card),
        seconds_an_epoch=work.epoch_tokens * _token(work, seen, card),
        seconds_to_answer=answers * each,
        seconds_per_answer=each,
        training_tokens=work.training_tokens,
        peak_memory_bytes=round(beside + peak),
        how=TRIED,
    )


def _token(work: Workload, seen: Probed, card: ModelCard) -> float:
    """Seconds of a trained token of all, in the process with the most of them."""
    passed = passing(work, card.parameters) / max(1, work.training_tokens)
    return seen.seconds_a_token * work.largest_part + passed


def _customize_seconds(work: Workload, seen: Probed, card: ModelCard) -> float:
    total = (OPENING if work.passages else 0.0) + work.passages * INDEXING
    total += work.searches * _search_seconds(work)
    total += work.asked_prompt_tokens * seen.seconds_a_prompt_token
    total += work.asked_new_tokens * seen.seconds_a_new_token
    if work.trains == "nothing":
        return total + seen.seconds_to_prepare
    forward = FORWARD[work.trains] * seen.seconds_a_token
    if work.trains == "adapter":
        forward = seen.seconds_a_look / seen.held_tokens  # what is written down is little
    watched = work.looks * (
        seen.seconds_a_look
        + (work.watched_tokens / work.division.processes - seen.held_tokens) * forward
    )
    read = work.read_tokens / work.division.processes
    training = work.runs * seen.seconds_to_prepare + read * forward
    training += work.training_tokens * _token(work, seen, card) + watched
    return total + min(training, work.most_seconds + training / work.runs)


def _shapes(work: Workload, card: ModelCard) -> float:
    """Bytes that oneDNN will keep for sizes of products beside those that trying met."""
    if work.trains == "nothing" or not local.has_bf16() or local.device().type != "cpu":
        return 0.0
    kept = max(int(os.environ.get(name, SHAPES)) for name in libraries.CACHES)
    steps = work.training_tokens / max(1, work.tokens_at_once)
    more = min(kept, SHAPES_A_STEP * steps) - min(kept, SHAPES_A_STEP * STEPS_TRIED)
    return max(0.0, more) * (SHAPE + 2 * work.tokens_at_once * outline(card).hidden)


def _answer_seconds(work: Workload, seen: Probed, new_tokens: int) -> float:
    written = min(work.answer_tokens, new_tokens)
    searching = _search_seconds(work) if work.passages else 0.0
    read = work.prompt_tokens * seen.seconds_a_prompt_token
    return read + written * seen.seconds_a_new_token + searching


def _search_seconds(work: Workload) -> float:
    return SEARCHING + SCANNING * work.passages
