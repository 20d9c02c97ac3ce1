"""Search of a technique's settings on the loss on validation, within a budget, by Optuna.

Tree-structured Parzen estimators propose (Bergstra et al. 2011, NeurIPS 24), poor trials are ended
at their looks at validation, and the best one is what is kept: it is not trained again. What was
tried is written after each trial, and the next proposal follows from that and the seed alone, so a
killed search goes on and ends the same. Akiba et al. 2019, arXiv:1907.10902.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping, Sequence
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
from sartor.techniques import search_trials
from sartor.techniques.estimating.drawn import layers
from sartor.techniques.lora import LoRA
from sartor.techniques.merge import Merge
from sartor.techniques.search_space import WIDTHS, defaults, distributions, probes, values, varied
from sartor.techniques.search_study import Pruning, study
from sartor.techniques.search_trials import Trial, Tried
from sartor.techniques.technique import RECORD, Customization, Technique
from sartor.techniques.trained import TrainedTechnique
from sartor.techniques.wrapping import INNER, around, innermost, load_inner
from sartor.tracking.tracker import stage
from sartor.training.loop import Trained
from sartor.training.watching import Curve, watched_by


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
    pruning: Pruning = "median"
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
        if any(isinstance(layer, Merge) for layer in layers(self.inner)):
            raise SettingError(
                "search: merge inside it trains several adapters, whose losses are of other "
                "examples or seeds. Search first ('search+lora'), then merge with what was found: "
                "its settings under [techniques.lora], or its folder in adapters of merge."
            )
        budgets = {"budget_seconds": self.budget_seconds, "budget_tokens": self.budget_tokens}
        for name, value in {"trials": self.trials, **budgets}.items():
            if value is not None and not value > 0:
                raise SettingError(
                    f"search: {name} is {value}; it must be above 0: raise it, or leave it out"
                )
        for name, written in self._space.items():
            for value in probes(name, written):
                with told_by("search", f"space.{name} holds {value!r}: "):
                    varied(self.inner, {name: value})  # which refuses what makes no sense

    def refuse(self, base: ModelCard) -> None:
        """MissingExtraError where Optuna is not installed; what the technique refuses of the
        widest that is searched."""
        if importlib.util.find_spec("optuna") is None:
            raise MissingExtraError("search", "optuna", "search")
        widest = {
            name: max(values(name, written))
            for name, written in self._space.items()
            if name in WIDTHS
        }
        if widest and (refuse := getattr(varied(self.inner, widest), "refuse", None)):
            refuse(base)

    def fit(self, base: ModelCard, data: TrainingData, directory: Path) -> Customization:
        """Try settings until the budget is spent; raises TrainingError where every trial failed."""
        self.refuse(base)
        made_of = digest(base, settings_of(self), data)
        tried = search_trials.resumed(directory, made_of)
        while len(tried.trials) < self.trials and self._within_budget(tried.trials):
            trial = self._try(tried, base, data, directory)
            tried = replace(tried, trials=(*tried.trials, trial))
            search_trials.keep(directory, tried)
        best = tried.best
        if best is None:
            raise TrainingError(
                f"search: none of {len(tried.trials)} trials came to an end: see trials.json in "
                f"{directory}. Narrow the space: values that go together, smaller learning rates."
            )
        search_trials.keep_best(directory, best)
        inner = read_json(directory / INNER / RECORD, Customization)
        others = sum(trial.seconds for trial in tried.trials if trial is not best)
        note = f"best of {len(tried.trials)} trials: " + ", ".join(
            f"{name} {_short(value)}" for name, value in best.settings.items()
        )
        return around(self, inner, directory, made_of=best.settings, seconds=others, note=note)

    def load(self, customization: Customization) -> LanguageModel:
        """The best trial, as its technique serves it."""
        best = search_trials.read(Path(customization.directory)).best
        assert best is not None
        return load_inner(varied(self.inner, best.settings), customization)

    def _within_budget(self, trials: Sequence[Trial]) -> bool:
        seconds, tokens = sum(t.seconds for t in trials), sum(t.tokens for t in trials)
        in_time = self.budget_seconds is None or seconds < self.budget_seconds
        return in_time and (self.budget_tokens is None or tokens < self.budget_tokens)

    def _try(self, tried: Tried, base: ModelCard, data: TrainingData, directory: Path) -> Trial:
        number = len(tried.trials)
        known = study(
            tried.trials, self._space, most=self.trials, pruning=self.pruning, seed=self.seed
        )
        asked = known.ask(distributions(self._space))
        settings = {name: _plain(value) for name, value in asked.params.items()}
        folder = search_trials.folder_of(directory, number)
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
            technique: Technique = varied(self.inner, settings)
            with watched_by(watch), stage(f"trial {number + 1}"):
                made = technique.fit(base, data, folder)
        except (_Pruned, TrainingError, SettingError) as ended:  # values that do not go together
            state: Literal["pruned", "failed"] = "pruned"
            if not isinstance(ended, _Pruned):
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


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
