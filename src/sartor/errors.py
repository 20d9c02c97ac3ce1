"""Every error sartor raises on purpose.

    SartorError               shown without a traceback; exit code 2
    ├── ProjectError          sartor.toml: a missing file, an unknown key, a wrong value
    ├── SettingError          a technique's or scorer's own setting
    ├── DataError             documents or examples that cannot be read or used
    │   ├── LeakError         train and test share something
    │   └── DiskError         a file cannot be written: no space, or no right to
    ├── ModelError            a base model that cannot be found, loaded or trusted
    │   ├── PromptTooLongError  a request that leaves no room for an answer
    │   ├── NoLikelihoodError  a model that does not say how likely a given text is
    │   ├── RemoteError       a remote model that cannot be reached, refuses, or makes no sense
    │   │   ├── BudgetError   a request that could cost more than the budget has left
    │   │   └── RefusedError  one request that its provider does not take; others it may
    │   └── TrainingError     training that cannot go on (NaN loss, nothing to train on)
    ├── MissingExtraError     an optional dependency that is not installed
    ├── ProcessError          of processes that train together, one is gone
    ├── BusyError             another process is at work on the same project
    └── ServingError          a release that cannot be served

A message says what was found, what was expected, and what to do.
"""

from __future__ import annotations


class SartorError(Exception):
    """The base of all errors a user can mend."""


class ProjectError(SartorError):
    """sartor.toml, or the folder it stands in, is not as it must be."""


class SettingError(SartorError):
    """A technique, scorer or retriever was given a setting that makes no sense."""


class DataError(SartorError):
    """Documents or examples cannot be read or used."""


class LeakError(DataError):
    """Train and test share examples, near-copies or groups."""


class DiskError(DataError):
    """A file cannot be written: the disk is full, or the folder is not ours."""


class ModelError(SartorError):
    """A base model cannot be found, loaded or trusted."""


class PromptTooLongError(ModelError):
    """A prompt leaves no room for an answer in the model's context."""


class NoLikelihoodError(ModelError):
    """A model does not score given texts: it only writes."""


class RemoteError(ModelError):
    """A remote model cannot be reached, refuses the request, or answers nonsense."""


class BudgetError(RemoteError):
    """A request could cost more than is left of the budget; it was not sent."""


class RefusedError(RemoteError):
    """A remote model does not take this one request; another it may."""


class TrainingError(ModelError):
    """Training cannot go on."""


class MissingExtraError(SartorError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f'{what} needs {package}: pip install "sartor[{extra}]"')


class ProcessError(SartorError):
    """Of several processes that train together, one is gone or was never there."""


class BusyError(SartorError):
    """Another process is at work on the same project."""


class ServingError(SartorError):
    """A release cannot be served."""
