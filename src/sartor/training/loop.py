"""The training loop: the only one. A technique says what is trainable; this finds its best values.

First a few learning rates are tried for a part of the run, then the best goes the whole way; the
loss on validation is watched throughout, training stops when it no longer falls, and the best
values are kept. The state is written at every look at validation, so a killed run goes on from
there and ends the same, bit for bit on a CPU. It stays until `forget`: whoever trained writes the
result first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass as settings

from sartor.data.files import digest
from sartor.data.records import TrainingData
from sartor.errors import SettingError, TrainingError
from sartor.models.prefix import Prefix
from sartor.progress import say, task
from sartor.settings import STRICT
from sartor.training import watching
from sartor.training.objective import VALIDATION_EXAMPLES as VALIDATION_EXAMPLES
from sartor.training.objective import Answers, Objective, Reading
from sartor.training.order import alike, shuffled
from sartor.training.packed_attention import use_packed_attention
from sartor.training.packing import packs

if TYPE_CHECKING:
    import torch

STATE = "training.safetensors"
WARMUP = 0.06
"""Part of the steps over which the learning rate rises."""


@settings(frozen=True, config=STRICT)
class TrainingSettings:
    """What every trained technique can be told about its training."""

    learning_rates: tuple[float, ...] = (2e-4, 1e-3)
    """Peaks to try; the best on validation trains. One value: no search."""
    epochs: float = 6.0
    """At most so many passes over the training examples."""
    max_tokens: int = 1_000_000
    """At most so many tokens are trained on (prompts included), however many epochs that is."""
    batch_size: int = 8
    """Examples an optimizer step."""
    together: int = 8
    """At most so many examples that begin alike, such as questions about one document, stand
    together: what they share is computed once. 1 leaves the order to chance."""
    pack_tokens: int = 4096
    """Tokens put through the model at once; bounds memory, changes no result."""
    weight_decay: float = 0.0
    search_fraction: float = 0.15
    """Part of the steps that each learning rate is tried for."""
    looks: int = 10
    """How often the loss on validation is measured in a whole run."""
    patience: int = 3
    """Stop after so many looks without a better one."""
    seed: int = 0

    def __post_init__(self) -> None:
        what = getattr(self, "name", "training")
        if not self.learning_rates or not all(0 < r < math.inf for r in self.learning_rates):
            raise SettingError(
                f"{what}: learning_rates is {list(self.learning_rates)}; give one or more positive "
                "numbers (1e-4 to 1e-2 is usual)"
            )
        for name in (
            "epochs",
            "max_tokens",
            "batch_size",
            "together",
            "pack_tokens",
            "looks",
            "patience",
        ):
            if not getattr(self, name) > 0:
                raise SettingError(f"{what}: {name} is {getattr(self, name)}; it must be above 0")
        if not 0 < self.search_fraction <= 1:
            raise SettingError(
                f"{what}: search_fraction is {self.search_fraction}; it lies in (0, 1]"
            )
        if not self.weight_decay >= 0:
            raise SettingError(f"{what}: weight_decay is {self.weight_decay}; it must be 0 or more")


@dataclass(frozen=True)
class Trainable:
    """A network and which of its values training may change."""

    network: Any
    tokenizer: Any
    parameters: dict[str, torch.nn.Parameter]
    context: int
    virtual: Callable[[], torch.Tensor | Prefix] | None = None
    """Virtual tokens, or keys and values, put before every example, made anew for each pack."""
    mixed_precision: bool = False
    """Run matrix products in bfloat16 (the parameters stay as they are)."""
    base: str = ""
    """Revision of the base."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Learning rates of some parameters, in parts of the others'."""
    objective: Objective = field(default_factory=Answers)
    """Whose loss is lowered."""

    def autocast(self) -> AbstractContextManager[Any]:
        import torch

        if not self.mixed_precision:
            return nullcontext()
        return torch.autocast(self.network.device.type, torch.bfloat16)

    def reading(self, pack_tokens: int) -> Reading:
        return Reading(
            self.network,
            self.tokenizer,
            self.context,
            lambda: self.virtual() if self.virtual else None,
            self.autocast,
            pack_tokens,
        )

    def loss(self, pack: Sequence[Any]) -> tuple[torch.Tensor, float]:
        """(sum of the losses of the pack's items, sum of their weights)."""
        virtual = self.virtual() if self.virtual else None
        with self.autocast():
            loss = self.objective.loss(self.network, pack, virtual)
        return loss, sum(map(self.objective.weight, pack))


@dataclass(frozen=True)
class Trained:
    """What training came to."""

    learning_rate: float
    steps: int
    validation_loss: float
    tokens: int
    curve: tuple[tuple[int, float, float], ...]
    """(step, training loss since the last look, validation loss), of the whole run."""

    def notes(self) -> tuple[str, ...]:
        return (
            f"learning rate {self.learning_rate:g}",
            f"{self.steps} steps, {self.tokens:,} tokens",
            f"validation loss {self.validation_loss:.3f}",
        )


@dataclass
class _State:
    """Where training is; with the tensors of `STATE`, all that is needed to go on."""

    tried: dict[str, float] = field(default_factory=dict)
    phase: str = ""
    step: int = 0
    best: float = math.inf
    best_step: int = 0
    since_best: int = 0
    tokens: int = 0
    summed: float = 0.0
    scored: float = 0
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    made_of: str = ""
    """Digest of base, settings and examples: the state of another training is not gone on from."""


def train(
    trainable: Trainable, data: TrainingData, options: TrainingSettings, directory: Path, what: str
) -> Trained:
    """Leave the best values found in `trainable.parameters`; `directory` holds the state meanwhile.

    Raises TrainingError when there is nothing to train on or the loss is not finite.
    """
    run = _Run(trainable, data, options, directory, what)
    if len(options.learning_rates) > 1:
        short = max(1, round(run.steps * options.search_fraction))
        for rate in options.learning_rates:
            run.try_rate(rate, short)
        rate = min(options.learning_rates, key=lambda r: run.state.tried[f"try {r:g}"])
    else:
        rate = options.learning_rates[0]
    run.attempt("train", rate, run.steps)
    if not math.isfinite(run.state.best):
        raise TrainingError(
            f"{what}: the loss on validation is {run.state.best} after {run.state.step} steps at "
            f"learning rate {rate:g}. Try smaller learning_rates."
        )
    run.use_best()
    state = run.state
    return Trained(rate, state.best_step, state.best, state.tokens, tuple(state.curve))


class _Run:
    """One call of `train`: batches, optimizer, looks at validation, state on disk."""

    def __init__(
        self, trainable: Trainable, data: TrainingData, options: TrainingSettings,
        directory: Path, what: str,
    ) -> None:  # fmt: skip
        self.trainable = trainable
        self.options = options
        self.directory = directory
        self.what = what
        from sartor.training.fused import use_fused  # imports torch

        directory.mkdir(parents=True, exist_ok=True)
        virtual = trainable.virtual() if trainable.virtual else None
        use_packed_attention(trainable.network, virtual if isinstance(virtual, Prefix) else None)
        use_fused(trainable.network)
        self.reading = trainable.reading(options.pack_tokens)
        self.train, held = trainable.objective.read(self.reading, data)
        self.validation = sorted(held, key=lambda e: len(e.tokens))
        self.steps = self._planned_steps()
        self.initial = {n: p.detach().clone() for n, p in trainable.parameters.items()}
        self.best = dict(self.initial)
        made_of = (
            trainable.base, asdict(options), dict(trainable.rates), self.train, self.validation,
        )  # fmt: skip
        self.state = _State(made_of=digest(*made_of))
        self.optimizer = self._new_optimizer()
        self._restore()

    def _planned_steps(self) -> int:
        per_epoch = sum(len(e.tokens) for e in self.train)
        epochs = min(self.options.epochs, self.options.max_tokens / per_epoch)
        return max(1, math.ceil(epochs * len(self.train) / self.options.batch_size))

    def _new_optimizer(self) -> torch.optim.AdamW:
        import torch

        rates = self.trainable.rates
        by_rate: dict[float, list[Any]] = {}
        for name, parameter in self.trainable.parameters.items():
            by_rate.setdefault(rates.get(name, 1.0), []).append(parameter)
        return torch.optim.AdamW(
            [{"params": group, "times": times} for times, group in by_rate.items()],
            lr=0.0,
            betas=(0.9, 0.98),
            weight_decay=self.options.weight_decay,
            fused=True,
        )

    def try_rate(self, rate: float, steps: int) -> None:
        """A short attempt; a rate whose loss is no number loses, unless all others did too."""
        try:
            self.attempt(f"try {rate:g}", rate, steps)
        except TrainingError as error:
            lost = [r for r, loss in self.state.tried.items() if math.isinf(loss)]
            if len(lost) + 1 == len(self.options.learning_rates):
                raise
            say(str(error))
            self.state.tried[f"try {rate:g}"] = math.inf

    def attempt(self, phase: str, rate: float, steps: int) -> None:
        """Train from the beginning at one learning rate; what is done already is not done again."""
        if phase in self.state.tried:
            return
        if self.state.phase != phase:
            self._begin(phase)
        look_every = max(1, math.ceil(steps / self.options.looks)) if phase == "train" else steps
        title = f"{self.what}: {phase}" + (f" at {rate:g}" if phase == "train" else "")
        with task(title, steps, "steps", done=self.state.step) as bar:
            batches = self._batches(skip=self.state.step)
            while self.state.step < steps and self.state.since_best < self.options.patience:
                loss = self._step(next(batches), rate * _schedule(self.state.step, steps))
                bar.advance(1, f"loss {loss:.3f}")
                if self.state.step % look_every == 0 or self.state.step == steps:
                    self._look()
                    if phase == "train":
                        watching.tell(self.state.curve, self.state.tokens)
                    self._save()
        self.state.tried[phase] = self.state.best

    def _begin(self, phase: str) -> None:
        import torch

        self.state = _State(tried=self.state.tried, phase=phase, made_of=self.state.made_of)
        self.best = dict(self.initial)
        self.optimizer = self._new_optimizer()
        with torch.no_grad():
            for name, parameter in self.trainable.parameters.items():
                parameter.copy_(self.initial[name])

    def _batches(self, skip: int) -> Iterator[list[Any]]:
        """Batches of examples in an order that follows from the seed, from the step `skip` on."""
        position = skip * self.options.batch_size
        groups = alike(self.train)
        order: list[int] = []
        epoch = -1
        while True:
            batch = []
            for i in range(position, position + self.options.batch_size):
                if i // len(self.train) != epoch:
                    epoch = i // len(self.train)
                    order = shuffled(groups, self.options.together, f"{self.options.seed}:{epoch}")
                batch.append(self.train[order[i % len(order)]])
            yield sorted(batch, key=lambda e: len(e.tokens))
            position += self.options.batch_size

    def _step(self, batch: list[Any], rate: float) -> float:
        import torch

        torch.manual_seed(
            self.options.seed * 1_000_003 + self.state.step
        )  # dropout, after a resume
        self.trainable.network.train()
        scored = sum(map(self.trainable.objective.weight, batch))
        total = 0.0
        self.trainable.objective.begin(self.trainable.network, batch, self.reading)
        for pack in packs(batch, self.options.pack_tokens):
            loss, _ = self.trainable.loss(pack)
            if not torch.isfinite(loss):
                raise self._not_finite(loss.item(), pack, rate)
            (loss / scored).backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.trainable.parameters.values(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["times"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1
        self.state.tokens += sum(len(e.tokens) for e in batch)
        self.state.summed += total
        self.state.scored += scored
        return total / scored

    def _not_finite(self, loss: float, pack: Sequence[Any], rate: float) -> TrainingError:
        return TrainingError(
            f"{self.what}: the loss became {loss} at step {self.state.step} with learning rate "
            f"{rate:g}, on examples {', '.join(e.id for e in pack[:5])}. "
            "Try smaller learning_rates, or look at these examples."
        )

    def _look(self) -> None:
        loss = self._validation_loss()
        state = self.state
        state.curve.append((state.step, state.summed / max(1, state.scored), loss))
        state.summed, state.scored = 0.0, 0
        if loss < state.best:
            state.best, state.best_step, state.since_best = loss, state.step, 0
            self.best = {n: p.detach().clone() for n, p in self.trainable.parameters.items()}
        else:
            state.since_best += 1

    def _validation_loss(self) -> float:
        import torch

        self.trainable.network.eval()
        total, scored = 0.0, 0.0
        with torch.no_grad():
            self.trainable.objective.begin(self.trainable.network, self.validation, self.reading)
            for pack in packs(self.validation, self.options.pack_tokens):
                loss, count = self.trainable.loss(pack)
                total += loss.item()
                scored += count
        return total / scored

    def use_best(self) -> None:
        import torch

        with torch.no_grad():
            for name, parameter in self.trainable.parameters.items():
                parameter.copy_(self.best[name])

    def _save(self) -> None:
        import torch
        from safetensors.torch import save_file

        tensors = {}
        for name, parameter in self.trainable.parameters.items():
            tensors[f"now.{name}"] = parameter.detach().contiguous()
            tensors[f"best.{name}"] = self.best[name].contiguous()
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"{key}.{name}"] = torch.as_tensor(value).contiguous()
        temporary = self.directory / f"{STATE}.tmp"
        save_file(tensors, temporary, metadata={"state": json.dumps(asdict(self.state))})
        temporary.replace(self.directory / STATE)

    def _restore(self) -> None:
        import torch
        from safetensors import safe_open

        path = self.directory / STATE
        if not path.is_file():
            return
        place = str(self.trainable.network.device)
        with safe_open(path, "pt", device=place) as file, torch.no_grad():
            state = _State(**json.loads(file.metadata()["state"]))
            if state.made_of != self.state.made_of:
                return
            state.curve = [(step, training, held) for step, training, held in state.curve]
            self.state = state
            for name, parameter in self.trainable.parameters.items():
                parameter.copy_(file.get_tensor(f"now.{name}"))
                self.best[name] = file.get_tensor(f"best.{name}")
                self.optimizer.state[parameter] = {
                    key: file.get_tensor(f"{key}.{name}")
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }


def forget(directory: Path) -> None:
    """Drop the state that `train` left in `directory`: its result is kept."""
    (directory / STATE).unlink(missing_ok=True)


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up, then a half cosine down to a twentieth."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2
