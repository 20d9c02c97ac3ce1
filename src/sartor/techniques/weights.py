"""What techniques that train weights share: set-up, the loop, and what is kept of it."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic.dataclasses import dataclass as settings

from sartor.data.files import content_digest, digest, write_json, write_text
from sartor.data.records import Example, TrainingData
from sartor.errors import DataError, MissingExtraError, ModelError, TrainingError
from sartor.models import libraries, local
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.models.local_model import LocalModel
from sartor.models.memory import PeakMemory
from sartor.models.prefix import Prefix
from sartor.settings import STRICT, settings_of
from sartor.techniques import following
from sartor.techniques.experts import as_layers
from sartor.techniques.technique import Customization
from sartor.techniques.zero_shot import INSTRUCTION, Prompted, with_system
from sartor.training import processes, sharding
from sartor.training.loop import Trainable, Trained, TrainingSettings, forget, train
from sartor.training.state import writing
from sartor.training.trainable import CURVE

if TYPE_CHECKING:
    import torch

__all__ = [
    "Course", "Prepared", "TrainedTechnique", "adapted", "answering", "fit", "folded",
    "peft_errors", "reading",
]  # fmt: skip


class Course(Protocol):
    """A technique that says how the one inside it is trained, by its own settings alone: other
    processes make it anew from these (following.py)."""

    def course(
        self, trainable: Trainable, data: TrainingData, options: TrainingSettings,
        directory: Path, what: str,
    ) -> Trained:  # fmt: skip
        """Find the best values of what is trainable, by one or more calls of `train`."""
        ...


@dataclass(frozen=True)
class Prepared:
    """A network made ready by a technique: what is trained, and how that is written to a folder."""

    parameters: dict[str, torch.nn.Parameter]
    save: Callable[[Path], Any]
    virtual: Callable[[], torch.Tensor | Prefix] | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    """Learning rates of some parameters, in parts of the others'."""
    model: Any = None
    """PEFT's model around the network, where there is one."""


@settings(frozen=True, config=STRICT)
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


def fit(
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

    from sartor.techniques.fitting import settled

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
            forget(directory)
    made = sorted(directory.glob("*.safetensors"))
    weights = digest(*(content_digest(path) for path in made))
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

    return replace(
        data,
        train=tuple(told(example) for example in data.train),
        validation=tuple(told(example) for example in data.validation),
        disliked=tuple(told(example) for example in data.disliked),
    )


TICK = 5.0
"""Seconds between notes of the time; a killed sitting loses no more."""


class Clock:
    """Seconds spent on a folder over all sittings, those that were killed included."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "seconds"
        self.before = float(self.path.read_text()) if self.path.is_file() else 0.0
        self.began = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Clock:
        self.began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        self._done.set()
        self._thread.join()
        with suppress(DataError) if failed else nullcontext():  # what failed is what is told
            write_text(self.path, str(self.total))

    def _tick(self) -> None:
        while not self._done.wait(TICK):
            with suppress(DataError):  # a full disk is told where weights are written
                write_text(self.path, str(self.total))

    @property
    def total(self) -> float:
        return self.before + time.perf_counter() - self.began


def answering(
    made: Customization, network: Any, *, system: str, virtual: torch.Tensor | Prefix | None = None
) -> LanguageModel:
    """The trained network behind the system prompt it was trained with."""
    return Prompted(LocalModel(made.base, network, virtual), system)


def adapted(what: str, network: Any, config: Any) -> Prepared:
    """The network with PEFT's adapters of that configuration, which are what is trained."""
    with peft_errors(what):
        import peft

        model = peft.get_peft_model(network, config)
        as_layers(model)
    return prepared(network, model)


def prepared(network: Any, model: Any) -> Prepared:
    """What is trained of a network inside PEFT's model, and is kept as PEFT keeps it."""
    named = {n: p for n, p in network.named_parameters() if p.requires_grad}
    return Prepared(named, lambda folder: model.save_pretrained(folder), model=model)


def folded(what: str, made: Customization, system: str) -> LanguageModel:
    """The base with the adapters that were kept folded into its weights."""
    network = local.load_network(made.base, local.inference_dtype(made.base))
    with peft_errors(what):
        import peft
    with reading(made):
        if not (Path(made.directory) / "adapter_model.safetensors").is_file():
            raise ModelError("no adapter_model.safetensors")  # PEFT would go on to a pickle
        model = peft.PeftModel.from_pretrained(network, made.directory)
    return answering(made, model.merge_and_unload(), system=system)


@contextmanager
def reading(made: Customization) -> Iterator[None]:
    """While what was trained is read back: ModelError where its files are broken or gone."""
    from safetensors import SafetensorError

    try:
        with _quiet():
            yield
    except (ModelError, OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        found = libraries.reason(error)
        raise ModelError(
            f"{made.technique}: what was trained cannot be read from {made.directory} ({found}). "
            "Delete that folder and run again."
        ) from error


@contextmanager
def peft_errors(what: str) -> Iterator[None]:
    """PEFT's own errors, in ours."""
    try:
        with _quiet():
            yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(what, "peft", "local") from error
    except (ValueError, RuntimeError, AttributeError) as error:
        raise TrainingError(
            f"{what}: PEFT cannot adapt this base: {str(error).splitlines()[0].rstrip('.')}. "
            "Name its linear layers in target_modules, or choose another technique."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """What PEFT says of other libraries' future, and of what it set right by itself, is not for
    users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to")
        warnings.filterwarnings("ignore", r"The following \w+_pattern keys")
        warnings.filterwarnings("ignore", "lora with eva initialization used with low_cpu")
        yield
