"""One training under way: steps, looks at validation, and the way back when something goes wrong.

A step that breaks (divergence.py says when) is not made: its batch is written down and named, and
training goes back to the last look. Examples whose loss is no number even there are left out from
then on. Otherwise the learning rate was too high: it is halved, `MOST_HALVINGS` times at most, and
that batch is left out too; in a try of a rate, that rate has lost.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sartor.data.files import digest
from sartor.data.records import TrainingData
from sartor.errors import TrainingError
from sartor.models.prefix import Prefix
from sartor.progress import say, task
from sartor.training import watching
from sartor.training.bad_batch import BadBatch, BrokenStep, listed
from sartor.training.batches import Batches
from sartor.training.divergence import Limits
from sartor.training.meter import Meter
from sartor.training.objective import Item
from sartor.training.optimizer import adamw, schedule
from sartor.training.passes import Passes
from sartor.training.processes import team
from sartor.training.saving import Saving
from sartor.training.settings import CHOSEN, TrainingSettings
from sartor.training.sharding import is_sharded, shard
from sartor.training.state import State, Values
from sartor.training.trainable import Trainable
from sartor.training.tricks import keep_lower, use_tricks

if TYPE_CHECKING:
    from sartor.training.lower import Lower

MOST_HALVINGS = 3
"""An eighth of a learning rate that was the best of those tried, and still no good: something else
is wrong."""


class Run:
    """One call of `train`."""

    def __init__(
        self, trainable: Trainable, data: TrainingData, options: TrainingSettings,
        directory: Path, what: str,
    ) -> None:  # fmt: skip
        self.trainable = trainable
        self.options = options
        self.directory = directory
        self.what = what
        self.team = team()
        directory.mkdir(parents=True, exist_ok=True)
        self.lower = self._ready()
        reading = trainable.reading(options.pack_size)
        train, held = trainable.objective.read(reading, data)
        self.sources = {example.id: example.source for example in data.train}
        self.batches = Batches(list(train), options)
        self.validation = sorted(held, key=lambda e: len(e.tokens))
        self.steps = self.batches.planned_steps()
        self.limits = Limits(len(trainable.tokenizer), options.batch_size)
        self.passes = Passes(trainable, reading, options, what, self.team)
        self.values = Values(trainable.parameters, {}, self._new_optimizer(), on_host=self._on_host)
        self.values.keep_best()
        told = asdict(options)
        for name in CHOSEN:  # perhaps anew, by the memory there is; they change nothing
            told.pop(name)
        made_of = (
            trainable.base, told, dict(trainable.rates), train, self.validation,
        )  # fmt: skip
        self.state = State(made_of=digest(*made_of))
        self.values.spread(self.team)
        self.initial = dict(self.values.best)
        self.saving = Saving(directory, self.values, self.team, 60 * options.save_minutes)
        self._restore(self.saving.latest)
        self._watch()

    def _ready(self) -> Lower | None:
        """Make the network fast, or small; what frozen lower blocks give, where that is kept."""
        trainable, options = self.trainable, self.options
        if is_sharded(trainable.network):  # by an earlier stage
            return None
        virtual = trainable.virtual() if trainable.virtual else None
        use_tricks(trainable.network, options, virtual if isinstance(virtual, Prefix) else None)
        if options.sharding == "full" and self.team.size > 1:
            shard(trainable, on_host=options.optimizer_on_host == "on")
            return None
        trained = [] if virtual is not None else list(trainable.parameters.values())
        return keep_lower(trainable.network, options, trained, self.directory)

    @property
    def _on_host(self) -> bool:
        """Whether the optimizer's state is kept off the GPU; torch sees to divided weights."""
        divided = is_sharded(self.trainable.network)
        return self.options.optimizer_on_host == "on" and not divided

    def _new_optimizer(self) -> object:
        return adamw(self.trainable, self.options.weight_decay, on_host=self._on_host)

    def attempt(self, phase: str, rate: float, steps: int) -> None:
        """Train from the beginning at one learning rate; what is done already is not done again."""
        if phase in self.state.tried:
            return
        if self.state.phase != phase:
            self._begin(phase)
        title = f"{self.what}: {phase}" + (f" at {rate:g}" if phase == "train" else "")
        with task(title, steps, "steps", done=self.state.step) as bar:
            meter = Meter(phase)
            while self.state.step < steps and self.state.since_best < self.options.patience:
                shown = self.state.step
                try:
                    self._advance(rate, steps, meter)
                    bar.advance(1, meter.note)
                    shown = self.state.step
                    self._look_or_save(steps, meter)
                except BrokenStep as broken:
                    self._go_back(broken, rate)
                    bar.advance(self.state.step - shown, str(broken))
        if not self.state.tokens:
            raise TrainingError(
                f"{self.what}: all batches were left out, so nothing was trained. Look at those "
                f"in {self.directory}, and try smaller learning_rates."
            )
        self.state.tried[phase] = self.state.best

    def _advance(self, rate: float, steps: int, meter: Meter) -> None:
        """The next step."""
        state = self.state
        batch = self._batch()
        now = rate * 0.5**state.halvings * schedule(state.step, steps)
        if batch:
            loss, norm = self._step(batch, now)
            meter.step(state, sum(len(e.tokens) for e in batch), loss, norm, now)
        state.step += 1

    def _look_or_save(self, steps: int, meter: Meter) -> None:
        """A look at validation where one is due; else the state is kept now and then."""
        state = self.state
        look_every = math.ceil(steps / self.options.looks) if state.phase == "train" else steps
        if state.step % max(1, look_every) == 0 or state.step == steps:
            self._look()
            meter.look(state)
            if state.phase == "train":
                self.team.led(lambda: watching.tell(state.curve, state.tokens))
            self.saving.at_look(state)
            if state.phase == "train":
                self.initial.clear()  # the way back leads to what was written now: memory for later
        else:
            doubtful = self.limits.doubtful(state.losses, state.usual)
            self.saving.now_and_then(state, doubtful=doubtful, in_step=self.passes.in_step)

    def _batch(self) -> list[Item]:
        if self.state.step in self.state.skipped:
            return []
        gone = set(self.state.left_out)
        return [e for e in self.batches.at(self.state.step) if e.id not in gone]

    def _step(self, batch: list[Item], rate: float) -> tuple[float, float]:
        """Loss and norm of the gradient; BrokenStep, and nothing changed, where they are wrong."""
        state = self.state
        loss, norm = self.passes.gradients(batch, state, self.values)
        losses = [*state.losses, loss]
        why = self.limits.wrong(losses, state.usual)
        if not why and not math.isfinite(norm):
            why = f"the norm of the gradient became {norm}"
        if why:
            self.values.clear()
            raise BrokenStep(BadBatch(why, state.phase, state.step, rate, loss, batch), why)
        self.values.step(rate)
        counted = self.trainable.counted(batch)
        state.losses, state.usual = self.limits.after(losses, state.usual)
        state.tokens += sum(len(e.tokens) for e in batch)
        state.summed += loss * counted
        state.scored += counted
        return loss, norm

    def _look(self) -> None:
        state = self.state
        loss = self.passes.held_loss(self.validation, state)
        last = state.phase == "train" and state.halvings == MOST_HALVINGS
        if not math.isfinite(loss) and not last:
            raise BrokenStep(None, f"the loss on validation became {loss}")
        state.curve.append((state.step, state.summed / max(1, state.scored), loss))
        state.summed, state.scored = 0.0, 0
        if loss < state.best:
            state.best, state.best_step, state.since_best = loss, state.step, 0
            self.values.keep_best()
        else:
            state.since_best += 1

    def _go_back(self, broken: BrokenStep, rate: float) -> None:
        """To the last look, so that what broke the step does not break it again."""
        step, phase = self.state.step, self.state.phase
        halvings, skipped, fits = self.state.halvings, self.state.skipped, self.state.pack_tokens
        if not self._restore(self.saving.last_look(), phase):
            self._begin(phase)
        self.state.skipped, self.state.pack_tokens = list(skipped), fits
        if broken.batch:
            alone = self.passes.alone(broken.batch.examples)
            blamed = [e.id for e, loss in zip(broken.batch.examples, alone, strict=True)
                      if not math.isfinite(loss)]  # fmt: skip
            self._write_down(broken.batch, alone)
            if blamed:
                return self._leave_out(broken.batch, blamed)
            self.state.skipped.append(step)
        elif silent := self._silent():
            return self._watch_without(silent, str(broken))
        if phase != "train" or halvings == MOST_HALVINGS:
            raise broken.given_up(self.what, rate, halvings, self.directory)
        self.state.halvings = halvings + 1
        self.saving.at_look(self.state)
        where = f", on {broken.batch.named_in(self.directory)}" if broken.batch else ""
        say(
            f"{self.what}: {broken} at step {step}{where}. Back to step {self.state.step}, at half "
            f"the learning rate: {rate * 0.5**self.state.halvings:g}"
        )
        return None

    def _write_down(self, batch: BadBatch, alone: list[float]) -> None:
        tokenizer = self.trainable.tokenizer
        self.team.led(lambda: batch.save(self.directory, self.sources, tokenizer, alone))

    def _leave_out(self, batch: BadBatch, blamed: list[str]) -> None:
        """Examples that break any step; TrainingError where it is the model that does."""
        silent = self._silent()
        if len(silent) == len(self.validation):
            raise BrokenStep(batch, batch.why).by_the_base(self.what, self.directory)
        left_out = [*self.state.left_out, *blamed]
        if set(left_out) >= {e.id for e in self.batches.examples}:
            broken = BrokenStep(batch, batch.why)
            raise broken.given_up(self.what, batch.learning_rate, 0, self.directory)
        self.state.left_out = left_out
        self.saving.at_look(self.state)
        guilty = replace(batch, examples=[e for e in batch.examples if e.id in blamed])
        named = guilty.named_in(self.directory)
        say(
            f"{self.what}: {batch.why} at step {batch.step}, on {named}: the loss of these is no "
            f"number at step {self.state.step} either. They are left out; back to that step"
        )
        if silent:
            self._watch_without(silent, "nor has validation a loss there")

    def _silent(self) -> list[str]:
        """Validation examples whose loss is no number now."""
        alone = self.passes.alone(self.validation)
        found = zip(self.validation, alone, strict=True)
        return [e.id for e, loss in found if not math.isfinite(loss)]

    def _watch_without(self, silent: list[str], why: str) -> None:
        """Validation examples that are never a number; TrainingError where all are."""
        if len(silent) == len(self.validation):
            raise BrokenStep(None, why).by_the_base(self.what, self.directory)
        self.state.left_out = [*self.state.left_out, *silent]
        self._watch()
        self.saving.at_look(self.state)
        say(
            f"{self.what}: {why}: that of {listed(silent)} is no number at step {self.state.step} "
            "either. The loss is watched without them; back to that step"
        )

    def _watch(self) -> None:
        """On validation, but for what was left out."""
        gone = set(self.state.left_out)
        self.validation = [e for e in self.validation if e.id not in gone]

    def _begin(self, phase: str) -> None:
        self.state = self.state.begun(phase)
        self.values.best = dict(self.initial)
        self.values.optimizer = self._new_optimizer()
        self.values.become(self.initial)

    def _restore(self, path: Path, phase: str | None = None) -> bool:
        """Go on from a state on disk, if it is this training's (and of that phase)."""
        found = self.saving.restore(path, self.state.made_of, phase)
        self.state = found or self.state
        return found is not None
