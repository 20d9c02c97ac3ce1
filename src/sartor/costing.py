"""What customizing a base would take, anywhere: `sartor estimate`.

On this machine a candidate is tried for some seconds (techniques/estimating/probe.py) where the
project's data and the base's configuration are at hand; elsewhere, and from numbers alone, it is
arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from sartor.costed import Costed, Costs, Machine
from sartor.lengths import Lengths

if TYPE_CHECKING:
    from sartor.checkup import Expected
    from sartor.data.prepare import Prepared
    from sartor.journey import Project
    from sartor.models.catalogue import FoundationModel
    from sartor.models.language_model import ModelCard
    from sartor.techniques.estimating.judging import Estimated
    from sartor.trial import Trial

TECHNIQUES = ("zero-shot", "p-tuning", "lora", "qlora", "full")
"""What is estimated where nothing else is asked for."""
QLORA: dict[str, Any] = {"quantize": "4bit"}
ANSWERS = 1000
"""Answers that are costed where there is no test part."""
HOUR, KILOWATT_HOUR = 3600.0, 3.6e6
USUAL = Lengths(prompt_tokens=500, answer_tokens=100, examples=1000)
"""What `sartor models` takes requests to be like."""
USES = {
    "inference": "zero-shot", "p-tuning": "p-tuning", "lora": "lora", "qlora": "qlora",
    "full": "full",
}  # fmt: skip


def from_numbers(base: str, techniques: Sequence[str], lengths: Lengths, machine: Machine) -> Costs:
    """By arithmetic, from the lengths of examples alone; the base need not be at hand."""
    from sartor.models.outline import known
    from sartor.techniques.estimating import workload

    card, shape, active = known(base)
    device = _device(machine)
    costed = []
    with machine.in_mind():
        for name in techniques or TECHNIQUES:
            technique = _built(name, sharded=machine.sharded)
            work = workload.from_numbers(technique, card, shape, **asdict(lengths))
            costed.append(_counted(name, technique, work, (card, shape, active), device, machine))
    return _costs(card.name, device, machine, ANSWERS, costed)


def of_project(one: Project, machine: Machine) -> Costs:
    """Every candidate of a project, on its own data; those on remote models take no machine, and
    cost what their answers do."""
    from sartor.data_step import collected_and_prepared
    from sartor.journey import bases
    from sartor.models.devices import at_most

    with one.names.in_use(), at_most(one.file.criteria.max_memory_gb), machine.in_mind():
        cards, trials = bases(one), one.trials()
        prepared = collected_and_prepared(one.folder, one.file)
        if machine.gpu is None:
            return _tried_here(one, trials, cards, prepared, machine)
        return _counted_there(trials, cards, prepared, machine)


def _tried_here(
    one: Project, trials: Sequence[Trial], cards: Mapping[str, ModelCard], prepared: Prepared,
    machine: Machine,
) -> Costs:  # fmt: skip
    from sartor.checkup import expected
    from sartor.models.devices import memory, watts

    found, _ = expected(one, trials, cards, prepared)
    power, answers = machine.watts or watts(), _answers(prepared)
    costed = [_of_expected(e, answers, power, machine) for e in found]
    name = _listed(cards)
    return Costs(name, "this machine", memory(), 1, answers, machine.currency, tuple(costed))


def _of_expected(found: Expected, answers: int, watts: float, machine: Machine) -> Costed:
    """A candidate on a remote model takes no watts here, and no hours of the machine."""
    if found.remote:
        machine, watts = replace(machine, price=0.0), 0.0
    each = found.seconds_to_answer / answers
    return _costed(found.name, found, each, answers, watts, machine, found.cost)


def _counted_there(
    trials: Sequence[Trial], cards: Mapping[str, ModelCard], prepared: Prepared, machine: Machine
) -> Costs:
    from sartor.checkup import on_remote
    from sartor.models.local import load_tokenizer
    from sartor.models.named import tokenizer_of
    from sartor.models.outline import outline
    from sartor.techniques.estimating.workload import workload

    device, answers = _device(machine), _answers(prepared)
    costed = []
    for base, card in cards.items():
        if card.remote is not None:
            several = [each for each in trials if each.base == base]
            found = on_remote(several, card, prepared, tokenizer_of(card))
            costed += [_of_expected(e, answers, 0.0, machine) for e in found]
            continue
        tokenizer = load_tokenizer(card)
        described = (card, outline(card), float(card.parameters))
        for trial in (each for each in trials if each.base == base):
            work = workload(trial.technique, card, prepared.split.training, tokenizer)
            costed.append(
                _counted(trial.name, trial.technique, work, described, device, machine, answers)
            )
    return _costs(_listed(cards), device, machine, answers, costed)


def _answers(prepared: Prepared) -> int:
    return len(prepared.split.training.validation) + len(prepared.split.test)


def _listed(cards: Mapping[str, ModelCard]) -> str:
    return ", ".join(card.name for card in cards.values())


def usual_memory(model: FoundationModel, use: str, room: float = math.inf) -> float:
    """Bytes that a use of a model takes on one GPU with requests of `USUAL`, with checkpointing
    where `room` bytes need it; by so many a parameter where the catalogue has not its shape."""
    if model.shape is None or use not in USES:
        return model.memory(use)
    from sartor.models.devices import Limit
    from sartor.models.outline import known
    from sartor.techniques.estimating import workload
    from sartor.techniques.estimating.arithmetic import BESIDE, peak_bytes
    from sartor.techniques.estimating.chosen import chosen
    from sartor.techniques.estimating.division import meant

    card, shape, _ = known(model.id)
    technique, written = _built(USES[use]), USUAL.answer_tokens
    with meant(1, on_gpus=True):
        work = workload.from_numbers(technique, card, shape, **asdict(USUAL))
    peak = BESIDE + peak_bytes(work, shape, model.parameters, written, quantized=use == "qlora")
    found = chosen(technique, work, card, shape, peak, Limit(room, "", of_gpu=True), written)
    return peak if found is None else found.peak


def _built(name: str, *, sharded: bool = False) -> Any:
    """A technique by name; `qlora` is LoRA on 4-bit weights, which are not divided."""
    from sartor.techniques.registry import build
    from sartor.techniques.wrapping import innermost
    from sartor.training.settings import TrainingSettings

    if name == "qlora":
        return build("lora", QLORA)
    made = build(name)
    core = innermost(made)
    if sharded and isinstance(core, TrainingSettings):
        return build(name, {}, {core.name: {"sharding": "full"}})  # type: ignore[attr-defined]
    return made


def _device(machine: Machine) -> Any:
    from sartor.models import libraries
    from sartor.models.devices import device_named, this_machine

    if machine.gpu is not None:
        device = device_named(machine.gpu)
    else:
        libraries.require_transformers()
        device = this_machine()
    return replace(device, watts=machine.watts or device.watts)


def _counted(
    name: str, technique: Any, work: Any, described: Any, device: Any, machine: Machine,
    answers: int = ANSWERS,
) -> Costed:  # fmt: skip
    from sartor.models.devices import Limit
    from sartor.techniques.estimating.judging import counted, judged, with_bought
    from sartor.techniques.estimating.peaks import limit_of

    card, shape, active = described
    room = round(work.answer_tokens)
    found = counted(technique, work, card, shape, active, device, answers, room)
    where = device.name if machine.gpus == 1 else f"each {device.name}"
    allowed = Limit(device.memory * 1e9, f"{where} has {device.memory:.1f} GB", of_gpu=True)
    if machine.gpu is None:
        allowed = limit_of(work)
    found = judged(found, technique, work, card, shape, allowed, room)
    found = with_bought(found, work)
    if name == "qlora" and machine.gpu is None:
        found = _refused_here(found, technique, card)
    each = found.seconds_per_answer
    return _costed(name, found, each, answers, device.watts * machine.gpus, machine, found.paid)


def _refused_here(found: Estimated, technique: Any, card: Any) -> Estimated:
    from sartor.errors import TrainingError

    try:
        technique.refuse(card)
    except TrainingError as error:
        return replace(found, fits=False, why=str(error))
    return found


def _costed(
    name: str, found: Any, each: float, answers: int, watts: float, machine: Machine, paid: float
) -> Costed:
    seconds = found.seconds_to_customize + each * answers
    return Costed(
        name=name,
        seconds_to_customize=found.seconds_to_customize,
        seconds_an_epoch=found.seconds_an_epoch,
        seconds_per_answer=each,
        training_tokens=found.training_tokens,
        peak_memory_bytes=found.peak_memory_bytes,
        watts=watts,
        energy_kwh=watts * seconds / KILOWATT_HOUR,
        money=machine.price * seconds / HOUR + paid,
        paid=paid,
        fits=found.fits,
        why=found.why,
        how=found.how,
        note=found.note,
    )


def _costs(
    base: str, device: Any, machine: Machine, answers: int, costed: Sequence[Costed]
) -> Costs:
    return Costs(
        base, device.name, round(device.memory * 1e9), machine.gpus, answers, machine.currency,
        tuple(costed),
    )  # fmt: skip
