"""Optuna's side of a search: what to try next, and which trials to end early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sartor.data.files import digest
from sartor.techniques.search_space import distributions
from sartor.techniques.search_trials import Trial

Pruning = Literal["median", "halving", "none"]
STATES = {"whole": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}


def study(
    trials: Sequence[Trial], space: Mapping[str, Any], *, most: int, pruning: Pruning, seed: int
) -> Any:
    """A study that knows what was tried, of at most so many; what it proposes next follows from
    that and the seed."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruners = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2),
        "halving": optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
        "none": optuna.pruners.NopPruner(),
    }
    sampler = optuna.samplers.TPESampler(
        seed=int(digest(seed, len(trials))[:8], 16), n_startup_trials=max(3, most // 3)
    )
    made = optuna.create_study(sampler=sampler, pruner=pruners[pruning])
    for trial in trials:
        made.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[STATES[trial.state]],
                value=trial.loss,
                params=trial.settings,
                distributions=distributions(space),
                intermediate_values=dict(enumerate(trial.looks, 1)),
            )
        )
    return made
