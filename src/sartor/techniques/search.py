"""Search of a technique's settings on the loss on validation, within a budget, by Optuna.

Tree-structured Parzen estimators propose (Bergstra et al. 2011, NeurIPS 24), poor trials are ended
at their looks at validation, and the best one is what is kept: it is not trained again. What was
tried is written after each trial, and the next proposal follows from that and the seed alone, so a
killed search goes on and ends the same. Akiba et al. 2019, arXiv:1907.10902.
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass as record
from dataclasses import field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from sartor.data.files import digest, read_json, write_json
from sartor.data.records import TrainingData
from sartor.errors import MissingExtraError, SettingError, TrainingError
from sartor.models.language_model import LanguageModel, ModelCard
from sartor.progress import say
from sartor.settings import STRICT, settings_of, told_by
from sartor.techniques.drawn import layers
from sartor.techniques.lora import LoRA
from sartor.techniques.search_space import defaults, distributions, values, varied
from sartor.techniques.technique import Customization, Technique
from sartor.techniques.weights import TrainedTechnique
from sartor.techniques.wrapping import INNER, around, innermost, load_inner
from sartor.tracking.tracker import stage
from sartor.training.loop import Trained
from sartor.training.watching import Curve, watched_by

TRIALS, RECORD = "trials", "customization.json"


@record(frozen=True, slots=True)
class Trial:
    """Settings that were tried, and what came of them."""

    number: int
    settings: dict[str, Any]
    state: Literal["whole", "pruned", "failed"]
    loss: float | None
    """The lowest on validation, of a whole trial."""
    looks: tuple[float, ...]
    """Losses on validation, in turn."""
    tokens: int
    """Trained on, at the last look."""
    seconds: float


@record(frozen=True, slots=True)
class Tried:
    """trials.json: all trials so far."""

    made_of: str
    trials: tuple[Trial, ...] = ()

    @property
    def best(self) -> Trial | None:
        whole = [trial for trial in self.trials if trial.loss is not None]
        return min(whole, key=lambda trial: (trial.loss, trial.number), default=None)


class _Pruned(Exception):  # noqa: N818 - no error: a trial that is not worth going on with
    pass


@dataclass(frozen=True, config=STRICT)
class Search:
    """Tries settings of the trained technique inside, and keeps the best trial."""

    name: ClassVar[str] = "search"
    reads_documents: ClassVar[bool] = False
    inner: Any = LoRA()
    """What is searched: `search+lora`, `search+full`, `search+dpo+lora`."""
    trials: int = 12
    """At most so many; each is a training run, unless it is ended early."""
    budget_seconds: float | None = None
    """No new trial after so many seconds of training; how many fit depends on the machine."""
    budget_tokens: int | None = None
    """No new trial after so many tokens trained on."""
    space: dict[str, Any] = field(default_factory=dict)
    """What is searched, by setting: two numbers are a range, more or others are choices. Without
    it: learning rate, epochs, and rank or virtual tokens where the technique has them."""
    pruning: Literal["median", "halving", "none"] = "median"
    """When a trial ends early: when it is worse than half of those before it at the same look;
    by successive halving; or never."""
    seed: int = 0

    def __post_init__(self) -> None:
        core = innermost(self.inner)
        if not isinstance(core, TrainedTechnique):
            raise SettingError(
                f"search: {getattr(core, 'name', type(core).__name__)} has no loss to search by. "
                "Put a technique that trains inside, such as 'search+lora'."
            )
        budgets = {"budget_seconds": self.budget_seconds, "budget_tokens": self.budget_tokens}
        for name, value in {"trials": self.trials, **budgets}.items():
            if value is not None and not value > 0:
                raise SettingError(
                    f"search: {name} is {value}; it must be above 0: raise it, or leave it out"
                )
        for name, written in self._space.items():
            for value in values(name, written):
                with told_by("search", f"space.{name} holds {value!r}: "):
                    varied(self.inner, {name: value})  # which refuses what makes no sense

    def refuse(self, base: ModelCard) -> None:
        """MissingExtraError where Optuna is not installed."""
        if importlib.util.find_spec("optuna") is None:
            raise MissingExtraError("search", "optuna", "search")

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Try settings until the budget is spent; raises TrainingError where every trial failed."""
        self.refuse(base)
        made_of = digest(base, settings_of(self), data)
        tried = _resumed(directory, made_of)
        while len(tried.trials) < self.trials and self._within_budget(tried.trials):
            trial = self._try(tried, base, data, directory)
            tried = replace(tried, trials=(*tried.trials, trial))
            write_json(directory / "trials.json", tried)
            for other in tried.trials:
                if other is not tried.best:
                    shutil.rmtree(_folder(directory, other.number), ignore_errors=True)
        best = tried.best
        if best is None:
            raise TrainingError(
                f"search: none of {len(tried.trials)} trials came to an end: see trials.json in "
                f"{directory}. Narrow the space, with smaller learning rates."
            )
        kept = _folder(directory, best.number)
        if kept.is_dir():
            shutil.rmtree(directory / INNER, ignore_errors=True)
            kept.rename(directory / INNER)
        shutil.rmtree(directory / TRIALS, ignore_errors=True)
        inner = read_json(directory / INNER / RECORD, Customization)
        others = sum(trial.seconds for trial in tried.trials if trial is not best)
        note = f"best of {len(tried.trials)} trials: " + ", ".join(
            f"{name} {_short(value)}" for name, value in best.settings.items()
        )
        return around(self, inner, directory, made_of=best.settings, seconds=others, note=note)

    def load(self, customization: Customization) -> LanguageModel:
        """The best trial, as its technique serves it."""
        tried = read_json(Path(customization.directory) / "trials.json", Tried)
        assert tried.best is not None
        return load_inner(varied(self.inner, tried.best.settings), customization)

    def _within_budget(self, trials: Sequence[Trial]) -> bool:
        seconds, tokens = sum(t.seconds for t in trials), sum(t.tokens for t in trials)
        in_time = self.budget_seconds is None or seconds < self.budget_seconds
        return in_time and (self.budget_tokens is None or tokens < self.budget_tokens)

    def _try(self, tried: Tried, base: ModelCard, data: TrainingData, directory: Path) -> Trial:
        number = len(tried.trials)
        asked = self._study(tried.trials).ask(distributions(self._space))
        settings = {name: _plain(value) for name, value in asked.params.items()}
        technique: Technique = varied(self.inner, settings)
        folder = _folder(directory, number)
        told: list[float] = []
        tokens = 0

        def watch(curve: Curve, so_far: int) -> None:
            nonlocal tokens
            tokens = so_far
            for _, _, loss in curve[len(told) :]:
                told.append(loss)
                asked.report(loss, len(told))
            if self.pruning != "none" and asked.should_prune():
                raise _Pruned

        began = time.perf_counter()
        say(f"search: trial {number + 1} of {self.trials}: {settings}")
        try:
            with watched_by(watch), stage(f"trial {number + 1}"):
                made = technique.fit(base, data, folder)
        except (_Pruned, TrainingError) as ended:
            state: Literal["pruned", "failed"] = "pruned"
            if isinstance(ended, TrainingError):
                say(str(ended))
                state = "failed"
            seconds = time.perf_counter() - began
            return Trial(number, settings, state, None, tuple(told), tokens, seconds)
        write_json(folder / RECORD, made)
        depth = len(list(layers(technique))) - 1
        trained = read_json(folder.joinpath(*[INNER] * depth, "curve.json"), Trained)
        looks = tuple(loss for _, _, loss in trained.curve)
        return Trial(
            number, settings, "whole", trained.validation_loss, looks, trained.tokens, made.seconds
        )

    @property
    def _space(self) -> Mapping[str, Any]:
        return self.space or defaults(self.inner)

    def _study(self, trials: Sequence[Trial]) -> Any:
        """A study that knows what was tried; what it proposes next follows from that and a seed."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruners = {
            "median": optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2),
            "halving": optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
            "none": optuna.pruners.NopPruner(),
        }
        sampler = optuna.samplers.TPESampler(
            seed=int(digest(self.seed, len(trials))[:8], 16),
            n_startup_trials=max(3, self.trials // 3),
        )
        study = optuna.create_study(sampler=sampler, pruner=pruners[self.pruning])
        states = {"whole": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
        for trial in trials:
            study.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState[states[trial.state]],
                    value=trial.loss,
                    params=trial.settings,
                    distributions=distributions(self._space),
                    intermediate_values=dict(enumerate(trial.looks, 1)),
                )
            )
        return study


def _resumed(directory: Path, made_of: str) -> Tried:
    """What was tried on the same data with the same settings; what is left of others goes."""
    path = directory / "trials.json"
    if path.is_file():
        tried = read_json(path, Tried)
        if tried.made_of == made_of:
            return tried
        for stale in (TRIALS, INNER):
            shutil.rmtree(directory / stale, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(path, Tried(made_of))
    return Tried(made_of)


def _folder(directory: Path, number: int) -> Path:
    return directory / TRIALS / f"{number:03}"


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
