"""What every technique that trains weights is, and how one is fitted: load, prepare, train, keep.

A technique says what is trained of a network and how that is written (weights.py); the loop is
training/loop.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic.dataclasses import dataclass

from sartor.data.files import content_digest, digest, write_json
from sartor.data.records import Example, TrainingData
from sartor.models import libraries, local
from sartor.models.language_model import ModelCard
from sartor.models.memory import PeakMemory
from sartor.settings import STRICT, settings_of
from sartor.techniques import following
from sartor.techniques.technique import Customization
from sartor.techniques.weights import Prepared
from sartor.techniques.zero_shot import INSTRUCTION, with_system
from sartor.training import processes, sharding
from sartor.training.clock import Clock
from sartor.training.loop import Trainable, Trained, TrainingSettings, forget, train
from sartor.training.state import RECENT, STATE, writing
from sartor.training.trainable import CURVE


class Course(Protocol):
    """A technique that says how the one inside it is trained, by its own settings alone: other
    processes make it anew from these (following.py)."""

    def course(
        self, trainable: Trainable, data: TrainingData, options: TrainingSettings,
        directory: Path, what: str,
    ) -> Trained:  # fmt: skip
        """Find the best values of what is trainable, by one or more calls of `train`."""
        ...


@dataclass(frozen=True, config=STRICT)
class TrainedTechnique(TrainingSettings):
    """What every technique that trains weights is, beside how it trains."""

    name: ClassVar[str]
    reads_documents: ClassVar[bool] = False
    needs_weights: ClassVar[bool] = True
    system: str = INSTRUCTION
    """Put before conversations that bring no system prompt, in training and in service."""
    precision: Literal["auto", "float32"] = "auto"
    """Of matrix products while training: bfloat16 where the machine is faster with it, or float32
    everywhere, which is slower, takes more memory, and gives the same on any number of processes
    to the sixth digit."""


def fit_weights(
    technique: TrainedTechnique,
    base: ModelCard,
    data: TrainingData,
    directory: Path,
    prepare: Callable[[Any], Prepared],
    *,
    frozen: bool,
    taken: int = 0,
    quantized: bool = False,
    course: Course | None = None,
) -> Customization:
    """Load the base, let the technique `prepare` it, train, and write what was trained.

    A `frozen` base is held in the precision that matrix products are run in, any other in float32;
    `taken` places of its context are not for prompts and answers; `quantized` holds its weights in
    4 bits. The `course`, training on right answers unless another is given, finds the values.
    """
    libraries.require_transformers()
    import torch

    from sartor.techniques.estimating.fitting import settled

    told = with_instruction(data, technique.system)
    technique, made_by = settled(technique, base, told, course), technique
    clock = Clock(directory)
    with following.called(technique, base, data, course), PeakMemory() as memory, clock:
        torch.manual_seed(technique.seed)
        bf16 = technique.precision == "auto" and local.has_bf16() and not technique.plain
        precision = torch.bfloat16 if frozen and bf16 else torch.float32
        divided = technique.sharding == "full" and processes.team().size > 1
        place = torch.device("cpu") if divided else None
        network = local.load_network(base, precision, quantized=quantized, place=place)
        ready = prepare(network)
        trainable = Trainable(
            network,
            local.load_tokenizer(base),
            ready.parameters,
            base.context - taken,
            ready.virtual,
            mixed_precision=bf16,
            base=base.revision,
            rates=ready.rates,
            frozen=frozen,
        )
        find = train if course is None else course.course
        trained = find(trainable, told, technique, directory, technique.name)
        if divided and not frozen:
            sharding.bring_together(network)
        if processes.team().leads:
            with writing(directory):
                ready.save(directory)
            write_json(directory / CURVE, trained)
    states = {STATE, RECENT}
    made = sorted(path for path in directory.glob("*.safetensors") if path.name not in states)
    weights = digest(*(content_digest(path) for path in made))
    if processes.team().leads:  # late: who is killed before this goes on from the last step
        forget(directory)
    return Customization(
        technique=technique.name,
        base=base,
        directory=str(directory),
        digest=digest(base.revision, settings_of(made_by), weights),
        trainable_parameters=sum(p.numel() for p in ready.parameters.values()),
        seconds=clock.total,
        peak_memory=memory.peak,
        notes=trained.notes(),
    )


def with_instruction(data: TrainingData, system: str) -> TrainingData:
    """The data with the system prompt that requests will have."""

    def told(example: Example) -> Example:
        return replace(example, input=with_system(example.input, system))

    return data.changed(lambda part: tuple(map(told, part)))
