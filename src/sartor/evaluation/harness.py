"""Tasks of lm-evaluation-harness over any local model of ours.

What the harness puts as raw text is put as a request, through the model's own chat template: the
figures compare a model before and after, and are not those of leaderboards. Needs the `harness`
extra; tasks whose data lie on a hub need a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sartor.data.records import Conversation, Message
from sartor.errors import MissingExtraError, SettingError
from sartor.models.language_model import Sampling
from sartor.models.likelihood import log_likelihoods

METRICS = ("acc", "exact_match", "acc_norm", "f1")
"""Results of one question that are a score from 0 to 1, the first that a task has."""


def by_harness(model: Any, task: str, folder: Path | None, limit: int | None) -> dict[str, float]:
    """By question, `task/number`, its score; SettingError for a task that is not there."""
    try:
        from lm_eval.evaluator import simple_evaluate
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"the task {task}", "lm-eval", "harness") from error
    manager = TaskManager(
        include_path=str(folder) if folder else None, include_defaults=folder is None
    )
    if task not in manager.all_tasks:
        raise SettingError(
            f"[forgetting] tasks: lm-evaluation-harness has no task {task!r}. Name one that it "
            "has, one of task_folder, or a file that ends in .jsonl."
        )
    made = simple_evaluate(
        _harness_model(model), tasks=[task], task_manager=manager, limit=limit,
        bootstrap_iters=0, log_samples=True,
    )  # fmt: skip
    return {
        f"{name}/{row['doc_id']}": _value(name, row)
        for name, rows in made["samples"].items()
        for row in rows
    }


def _value(task: str, row: dict[str, Any]) -> float:
    for metric in METRICS:
        if metric in row:
            return float(row[metric])
    raise SettingError(
        f"[forgetting] tasks: {task} has no result of one question among {', '.join(METRICS)}. "
        "Choose another task."
    )


def _harness_model(model: Any) -> Any:
    """The model as the harness sees it."""
    from lm_eval.api.model import LM

    class OurModel(LM):  # type: ignore[misc]
        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            pairs = [request.args for request in requests]
            found = log_likelihoods(
                model, [_asked(context) for context, _ in pairs], [(text,) for _, text in pairs]
            )
            return [(f.total, f.greedy) if f else (float("-inf"), False) for [f] in found]

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            texts = [request.args[0] for request in requests]
            found = log_likelihoods(model, [()] * len(texts), [(text,) for text in texts])
            return [f.total if f else float("-inf") for [f] in found]

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
            answers = []
            for context, options in (request.args for request in requests):
                sampling = Sampling(
                    max_new_tokens=int(options.get("max_gen_toks", 256)),
                    stop=tuple(options.get("until", ())),
                )
                [completion] = model.generate([_asked(context)], sampling)
                answers.append(completion.text)
            return answers

    return OurModel()


def _asked(context: str) -> Conversation:
    return (Message("user", context),)
