"""MLflow: a run for each candidate, in an experiment of the project's name.

A server or a database by its URI; a folder gets an SQLite file, `mlflow.db`. Of the library only
its small core is needed (mlflow-skinny), with SQLAlchemy and Alembic for the database.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sartor.data.files import digest
from sartor.errors import MissingExtraError, ProjectError
from sartor.progress import say

FLUSHED = 5.0
"""Seconds between figures that are sent together."""
MOST = 900
"""Figures sent together; MLflow takes 1,000."""
LONGEST = 500
"""Characters of a parameter that MLflow takes."""


class MLflow:
    """Sends figures as metrics, a candidate's settings as parameters, its scores at the end."""

    def __init__(self, where: str, folder: Path, project: str) -> None:
        client = self.library()
        self.uri = _uri(where, folder)
        self._run, self._candidate, self._settings = "", "", dict[str, Any]()
        self._waiting: list[Any] = []
        self._flushed, self._lost = time.monotonic(), False
        try:
            with _quiet():
                self._client = client(tracking_uri=self.uri)
                found = self._client.get_experiment_by_name(project)
                self._experiment = (
                    found.experiment_id if found else self._client.create_experiment(project)
                )
        except Exception as error:  # MLflow's own, its database's and its transport's
            told = (str(error) or type(error).__name__).split("\n")[0]
            raise ProjectError(
                f"[tracking] mlflow is {where!r}, and no experiment can be kept there: {told}. "
                "Give a folder, or the URI of a server that runs."
            ) from error

    @staticmethod
    def library() -> Any:
        """What speaks to a server or a database; MissingExtraError where it is not there."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would call its makers
        try:
            import sqlalchemy
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise MissingExtraError("[tracking] mlflow", "MLflow", "mlflow") from error
        del sqlalchemy
        return MlflowClient

    def begin(self, candidate: str, settings: Mapping[str, Any]) -> None:
        """Its run is made with its first figure; one that was stopped goes on."""
        self._run, self._candidate, self._settings = "", candidate, dict(settings)
        self._waiting = []

    def record(self, phase: str, step: int, figures: Mapping[str, float]) -> None:
        """As metrics; those of a try have the rate in their name."""
        from mlflow.entities import Metric

        before = "" if phase == "train" else phase.replace(" ", "-") + "/"
        now = int(time.time() * 1000)
        self._waiting += [Metric(before + name, v, now, step) for name, v in figures.items()]
        if len(self._waiting) > MOST or time.monotonic() - self._flushed > FLUSHED:
            self._flush()

    def finish(self, scores: Mapping[str, float]) -> None:
        """The run is over: whole with scores, failed without."""
        if scores:
            self.record("train", 0, {f"test/{name}": value for name, value in scores.items()})
        self._flush()
        if self._run:
            status = "FINISHED" if scores else "FAILED"
            self._sent(lambda: self._client.set_terminated(self._run, status))

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        self._flushed = time.monotonic()
        if waiting:
            self._sent(lambda: self._client.log_batch(self._begun(), metrics=waiting))
        if self._waiting:
            self._flush()

    def _begun(self) -> str:
        """The candidate's run; the same one for the same settings, so that it goes on."""
        if self._run:
            return self._run
        from mlflow.entities import Param

        key = digest(self._candidate, self._settings)
        wanted = f"tags.`sartor.candidate` = '{key}'"
        found = self._client.search_runs([self._experiment], wanted, max_results=1)
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return self._run
        tags = {"sartor.candidate": key}
        made = self._client.create_run(self._experiment, tags=tags, run_name=self._candidate)
        self._run = made.info.run_id
        plain = _flat(self._settings)
        self._client.log_batch(
            self._run, params=[Param(name, str(v)[:LONGEST]) for name, v in plain.items()]
        )
        return self._run

    def _sent(self, send: Callable[[], object]) -> None:
        """Training does not end because a server does: that is said, once."""
        if self._lost:
            return
        try:
            with _quiet():
                send()
        except Exception as error:  # MLflow's own, its database's and its transport's
            self._lost = True
            told = (str(error) or type(error).__name__).split("\n")[0]
            say(f"mlflow: {self.uri} takes no more figures ({told}); the run goes on without it")


def _uri(where: str, folder: Path) -> str:
    if "://" in where or where.startswith("databricks"):
        return where
    place = folder / Path(where).expanduser()
    place.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{place / 'mlflow.db'}"


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings of techniques inside others, by dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{before}{name}.")
        else:
            found[before + name] = value
    return found


class _quiet(warnings.catch_warnings):  # noqa: N801 - used as a function
    """What MLflow's database says of other libraries' future, and of making its tables, is not for
    users."""

    def __enter__(self) -> None:
        import logging

        super().__enter__()
        warnings.simplefilter("ignore")
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
