"""Search: what is tried and kept, when trials end early, how a killed one goes on."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import tiny_models
from tests.training.test_loop import ALIKE, CONTRARY, Stopping

from sartor import progress
from sartor.data.files import read_json
from sartor.errors import MissingExtraError, SettingError, TrainingError
from sartor.models.language_model import ModelCard
from sartor.techniques.registry import build
from sartor.techniques.search_space import defaults
from sartor.techniques.search_trials import Trial, Tried

QUICK: dict[str, Any] = {"epochs": 3, "batch_size": 4, "looks": 3, "rank": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    return tiny_models.save(tmp_path_factory.mktemp("base"))


def search(**settings: Any) -> Any:
    return build("search+lora", {"trials": 6, **settings}, {"lora": QUICK})


def tried(directory: Path) -> tuple[Trial, ...]:
    found = read_json(directory / "trials.json", Tried).trials
    return tuple(replace(trial, seconds=0.0) for trial in found)


def test_choices_may_be_lists_and_optuna_says_nothing_of_it(
    base: ModelCard, tmp_path: Path
) -> None:
    layers = [["q_proj"], ["q_proj", "v_proj"]]
    technique = search(trials=2, space={"target_modules": layers, "epochs": [1, 2, 3]})
    technique.fit(base, ALIKE, tmp_path / "made")
    assert all(trial.settings["target_modules"] in layers for trial in tried(tmp_path / "made"))


def test_the_best_trial_is_kept_as_it_was_trained(base: ModelCard, tmp_path: Path) -> None:
    technique = search(space={"learning_rates": [1e-5, 3e-2], "rank": [2, 4, 8]})
    made = technique.fit(base, ALIKE, tmp_path / "search")
    trials = tried(tmp_path / "search")
    best = min((t for t in trials if t.loss is not None), key=lambda t: t.loss or 0)
    assert len({(t.settings["learning_rates"], t.settings["rank"]) for t in trials}) == 6
    [rate] = [best.settings["learning_rates"]]
    chosen = {**QUICK, "learning_rates": (rate,), "rank": best.settings["rank"]}
    alone = build("lora", chosen)
    again = alone.fit(base, ALIKE, tmp_path / "alone")
    kept = (tmp_path / "search" / "inner" / "adapter_model.safetensors").read_bytes()
    assert kept == (tmp_path / "alone" / "adapter_model.safetensors").read_bytes()
    assert made.trainable_parameters == again.trainable_parameters
    assert not (tmp_path / "search" / "trials").exists()
    assert made.notes[0].startswith("best of 6 trials: learning_rates ")
    assert made.seconds >= again.seconds / 10


def test_poor_trials_end_early_and_never_win(base: ModelCard, tmp_path: Path) -> None:
    technique = search(space={"learning_rates": [1e-9, 1e-8, 1e-2]}, trials=10)
    technique.fit(base, ALIKE, tmp_path)
    trials = tried(tmp_path)
    pruned = [t for t in trials if t.state == "pruned"]
    assert pruned
    assert all(len(t.looks) >= 2 for t in pruned)
    best = read_json(tmp_path / "trials.json", Tried).best
    assert best is not None
    assert best.settings == {"learning_rates": 1e-2}
    never = search(space={"learning_rates": [1e-9, 1e-8, 1e-2]}, trials=10, pruning="none")
    never.fit(base, ALIKE, tmp_path / "never")
    assert {t.state for t in tried(tmp_path / "never")} == {"whole"}


@pytest.mark.parametrize("steps", [(5,), (13, 4), (22,)])
def test_a_search_that_was_stopped_tries_and_keeps_the_same(
    steps: tuple[int, ...], base: ModelCard, tmp_path: Path
) -> None:
    technique = search(space={"learning_rates": [1e-5, 3e-2], "epochs": [2, 3]}, trials=5)
    whole = technique.fit(base, ALIKE, tmp_path / "whole")
    for stopped in steps:
        with pytest.raises(KeyboardInterrupt), progress.shown_by(Stopping(stopped)):
            technique.fit(base, ALIKE, tmp_path / "stopped")
    ended = technique.fit(base, ALIKE, tmp_path / "stopped")
    assert ended.digest == whole.digest
    assert tried(tmp_path / "stopped") == tried(tmp_path / "whole")
    assert technique.fit(base, ALIKE, tmp_path / "stopped").digest == whole.digest


def test_the_budget_ends_the_search(base: ModelCard, tmp_path: Path) -> None:
    search(budget_tokens=1).fit(base, ALIKE, tmp_path / "tokens")
    assert len(tried(tmp_path / "tokens")) == 1
    search(budget_seconds=1e-6).fit(base, ALIKE, tmp_path / "seconds")
    assert len(tried(tmp_path / "seconds")) == 1


def test_other_data_in_the_same_folder_are_searched_anew(base: ModelCard, tmp_path: Path) -> None:
    technique = search(trials=1)
    first = technique.fit(base, ALIKE, tmp_path)
    second = technique.fit(base, CONTRARY, tmp_path)
    assert first.digest != second.digest
    assert len(tried(tmp_path)) == 1


def test_a_trial_that_cannot_be_trained_is_told_and_passed_over(
    base: ModelCard, tmp_path: Path
) -> None:
    technique = search(space={"target_modules": ["nowhere", "all-linear"]}, trials=5)
    technique.fit(base, ALIKE, tmp_path / "some")
    assert {t.state for t in tried(tmp_path / "some")} == {"failed", "whole"}
    none = search(space={"target_modules": ["nowhere", "neither"]}, trials=2)
    with pytest.raises(TrainingError, match="none of 2 trials came to an end"):
        none.fit(base, ALIKE, tmp_path / "none")


def test_values_that_do_not_go_together_are_a_trial_that_failed(
    base: ModelCard, tmp_path: Path
) -> None:
    space = {"dora": [True, False], "initialization": ["pissa", "zero"]}
    search(space=space, trials=8).fit(base, ALIKE, tmp_path)
    states = {(t.settings["dora"], t.settings["initialization"]): t.state for t in tried(tmp_path)}
    assert states[(True, "pissa")] == "failed"
    assert {state for both, state in states.items() if both != (True, "pissa")} == {"whole"}


def test_the_widest_that_is_searched_must_fit_the_base(base: ModelCard) -> None:
    technique: Any = build("search+p-tuning", {"space": {"virtual_tokens": [8, 300]}})
    with pytest.raises(TrainingError, match="virtual_tokens is 300"):
        technique.refuse(base)
    narrow: Any = build("search+p-tuning", {"space": {"virtual_tokens": [8, 30]}})
    narrow.refuse(base)


def test_the_usual_space_follows_from_the_technique() -> None:
    assert defaults(build("lora")) == {
        "learning_rates": [5e-4 / 4, 6e-3 * 4], "epochs": [1.5, 6.0], "rank": [4, 64],
    }  # fmt: skip
    assert list(defaults(build("full"))) == ["learning_rates", "epochs"]
    assert "virtual_tokens" in defaults(build("p-tuning"))
    over = defaults(build("dpo"))
    assert over["epochs"] == [0.75, 3.0]
    assert over["rank"] == [4, 64]


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("search+zero-shot", {}, "zero-shot has no loss to search by"),
        ("search", {"trials": 0}, "trials is 0"),
        ("search", {"budget_tokens": -1}, "budget_tokens is -1"),
        ("search", {"space": {"rnk": [1, 2]}}, "names 'rnk', which is no setting"),
        ("search", {"space": {"rank": [8, 4]}}, "a range begins below its end"),
        ("search", {"space": {"rank": 8}}, "give two numbers for a range"),
        ("search", {"space": {"rank": [0, 4]}}, "rank is 0"),
        ("search", {"space": {"rank": [2, 8.0]}}, r"rank is 3\.6.*integer.*whole ends"),
        ("search+merge+lora", {}, "merge inside it trains several adapters"),
        ("search+dpo+lora", {"space": {"beta": [0.1, 0.5]}}, "changes what the loss is"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(
    name: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        build(name, settings)


def test_without_optuna_the_extra_is_named(
    base: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "optuna" else find(name)
    )
    with pytest.raises(
        MissingExtraError, match=r'search needs optuna: pip install "sartor\[search'
    ):
        search().fit(base, ALIKE, tmp_path)
