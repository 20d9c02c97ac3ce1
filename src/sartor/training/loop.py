"""The training loop: the only one. A technique says what is trainable; this finds its best values.

First a few learning rates are tried for a part of the run, then the best goes the whole way; the
loss on validation is watched throughout, training stops when it no longer falls, and the best
values are kept. What happens when a step goes wrong is run.py's business, where it goes on from
when it was killed state.py's, and how several processes share the work processes.py's. The state
stays until `forget`: whoever trained writes the result first.
"""

from __future__ import annotations

import math
from pathlib import Path

from sartor.data.records import TrainingData
from sartor.errors import TrainingError
from sartor.progress import say
from sartor.training.objective import VALIDATION_EXAMPLES
from sartor.training.run import MOST_HALVINGS, Run
from sartor.training.settings import TrainingSettings
from sartor.training.state import RECENT, STATE, forget
from sartor.training.trainable import Trainable, Trained

__all__ = [
    "MOST_HALVINGS", "RECENT", "STATE", "VALIDATION_EXAMPLES", "Trainable", "Trained",
    "TrainingSettings", "forget", "train",
]  # fmt: skip


def train(
    trainable: Trainable, data: TrainingData, options: TrainingSettings, directory: Path, what: str
) -> Trained:
    """Leave the best values found in `trainable.parameters`; `directory` holds the state meanwhile.

    Raises TrainingError when there is nothing to train on, when it goes wrong again and again, or
    when the loss is not finite however it is trained.
    """
    run = Run(trainable, data, options, directory, what)
    if len(options.learning_rates) > 1:
        short = max(1, round(run.steps * options.search_fraction))
        for rate in options.learning_rates:
            _try_rate(run, rate, short)
        rate = min(options.learning_rates, key=lambda r: run.state.tried[f"try {r:g}"])
    else:
        rate = options.learning_rates[0]
    run.attempt("train", rate, run.steps)
    state = run.state
    if not math.isfinite(state.best):
        raise TrainingError(
            f"{what}: the loss on validation is {state.best} after {state.step} steps at "
            f"learning rate {rate:g}. Try smaller learning_rates."
        )
    run.values.become(run.values.best)
    if run.lower is not None:
        run.lower.forget()
    curve, halvings = tuple(state.curve), state.halvings
    return Trained(rate, state.best_step, state.best, state.tokens, curve, halvings)


def _try_rate(run: Run, rate: float, steps: int) -> None:
    """A short attempt; a rate whose loss is no number loses, unless all others did too."""
    try:
        run.attempt(f"try {rate:g}", rate, steps)
    except TrainingError as error:
        lost = [r for r, loss in run.state.tried.items() if math.isinf(loss)]
        if len(lost) + 1 == len(run.options.learning_rates):
            raise
        say(str(error))
        run.state.tried[f"try {rate:g}"] = math.inf
