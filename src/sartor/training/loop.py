"""The training loop: the only one. A technique says what is trainable; this finds its best values.

First a few learning rates are tried for a part of the run, then the best goes the whole way; the
loss on validation is watched throughout, training stops when it no longer falls, and the best
values are kept. The state is written at every look at validation (state.py), so a killed run goes
on from there and ends the same, bit for bit on a CPU. It stays until `forget`: whoever trained
writes the result first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sartor.data.files import digest
from sartor.data.records import TrainingData
from sartor.errors import TrainingError
from sartor.models.prefix import Prefix
from sartor.progress import say, task
from sartor.training import state as kept
from sartor.training.batches import Batches
from sartor.training.optimizer import adamw, clip, schedule
from sartor.training.packed_attention import use_packed_attention
from sartor.training.packing import Encoded, encode, packs
from sartor.training.settings import TrainingSettings
from sartor.training.state import STATE, State, Values, forget
from sartor.training.trainable import Trainable, Trained

__all__ = [
    "STATE", "VALIDATION_EXAMPLES", "Trainable", "Trained", "TrainingSettings", "forget", "train",
]  # fmt: skip
VALIDATION_EXAMPLES = 100
"""Validation examples that the loss is watched on; more would cost more than they tell."""


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
    """One call of `train`: steps, looks at validation, and where it goes on from."""

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
        train = encode(trainable.tokenizer, data.train, trainable.context)
        self.batches = Batches(train, options)
        held = sorted(data.validation, key=lambda e: e.id)[:VALIDATION_EXAMPLES]
        self.validation = encode(trainable.tokenizer, held, trainable.context)
        self.validation.sort(key=lambda e: len(e.tokens))
        self.steps = self.batches.planned_steps()
        self.initial = {n: p.detach().clone() for n, p in trainable.parameters.items()}
        made_of = (
            trainable.base, asdict(options), dict(trainable.rates), train, self.validation,
        )  # fmt: skip
        self.state = State(made_of=digest(*made_of))
        self.values = Values(trainable.parameters, dict(self.initial), self._new_optimizer())
        self.path = directory / STATE
        place = str(trainable.network.device)
        found = kept.restore(self.path, self.state.made_of, self.values, place)
        self.state = found or self.state

    def _new_optimizer(self) -> object:
        return adamw(self.trainable, self.options.weight_decay)

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
            while self.state.step < steps and self.state.since_best < self.options.patience:
                batch = self.batches.at(self.state.step)
                loss = self._step(batch, rate * schedule(self.state.step, steps))
                bar.advance(1, f"loss {loss:.3f}")
                if self.state.step % look_every == 0 or self.state.step == steps:
                    self._look()
                    kept.save(self.path, self.state, self.values)
        self.state.tried[phase] = self.state.best

    def _begin(self, phase: str) -> None:
        import torch

        self.state = State(tried=self.state.tried, phase=phase, made_of=self.state.made_of)
        self.values.best = dict(self.initial)
        self.values.optimizer = self._new_optimizer()
        with torch.no_grad():
            for name, parameter in self.trainable.parameters.items():
                parameter.copy_(self.initial[name])

    def _step(self, batch: list[Encoded], rate: float) -> float:
        import torch

        torch.manual_seed(
            self.options.seed * 1_000_003 + self.state.step
        )  # dropout, after a resume
        self.trainable.network.train()
        scored = sum(len(e.tokens) - e.prompt for e in batch)
        total = 0.0
        for pack in packs(batch, self.options.pack_tokens):
            loss, _ = self.trainable.loss(pack)
            if not torch.isfinite(loss):
                raise self._not_finite(loss.item(), pack, rate)
            (loss / scored).backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        clip(self.trainable.parameters.values())
        self.values.step(rate)
        self.state.step += 1
        self.state.tokens += sum(len(e.tokens) for e in batch)
        self.state.summed += total
        self.state.scored += scored
        return total / scored

    def _not_finite(self, loss: float, pack: Sequence[Encoded], rate: float) -> TrainingError:
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
            self.values.keep_best()
        else:
            state.since_best += 1

    def _validation_loss(self) -> float:
        import torch

        self.trainable.network.eval()
        total, scored = 0.0, 0
        with torch.no_grad():
            for pack in packs(self.validation, self.options.pack_tokens):
                loss, count = self.trainable.loss(pack)
                total += loss.item()
                scored += count
        return total / scored

    def use_best(self) -> None:
        import torch

        with torch.no_grad():
            for name, parameter in self.trainable.parameters.items():
                parameter.copy_(self.values.best[name])
