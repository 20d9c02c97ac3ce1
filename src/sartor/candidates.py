"""The candidates of a project file on its bases, with their techniques built: what is wrong with
one is told before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from shlex import quote

from sartor.crossing import bases_of, crossed
from sartor.data.prepare import Prepared
from sartor.errors import ProjectError
from sartor.models import remote
from sartor.models.language_model import ModelCard
from sartor.models.local import load_tokenizer
from sartor.models.outline import empty_alike
from sartor.models.token_by_token import refuse_looking_ahead
from sartor.progress import say
from sartor.project import ProjectFile
from sartor.run_record import NotTried
from sartor.techniques.registry import TECHNIQUES, spelled_out
from sartor.techniques.technique import RECORD
from sartor.trial import Training, Trial
from sartor.workspace import Workspace


def trials(file: ProjectFile) -> list[Trial]:
    """Every candidate on each of its bases; SettingError or ProjectError for a wrong one."""
    _tell_unused(file)
    made = _built(file)
    for trial in made:
        for seed in trial.candidate.seeds:
            trial.seeded(seed)  # refused here rather than when its turn comes
    return [trial for trial in made if not _is_left_out(trial, file)] or made


def left_out(file: ProjectFile) -> tuple[NotTried, ...]:
    """Candidates that train weights, crossed with bases that have none here."""
    return tuple(
        NotTried(trial.name, f"{trial.needs_weights()} trains weights, and the base is remote")
        for trial in _built(file)
        if _is_left_out(trial, file)
    )


def _built(file: ProjectFile) -> list[Trial]:
    return [Trial.of(one, file.techniques, file.project.seed) for one in crossed(file)]


def _is_left_out(trial: Trial, file: ProjectFile) -> bool:
    """Where a candidate names that base itself, or there is no other, it is refused instead."""
    several = len(bases_of(file)) > 1 and not trial.crossed.chosen
    return several and trial.base in file.remote and bool(trial.needs_weights())


def _tell_unused(file: ProjectFile) -> None:
    """Of [techniques.<name>] for what no candidate is made of; ProjectError where there is no such
    technique."""
    candidates = file.customize.candidates
    named = {part for candidate in candidates for part in spelled_out(candidate.technique)}
    for unused in sorted(file.techniques.keys() - named):
        said = (
            f"[techniques.{unused}] is not used by any candidate; they are made of: "
            f"{', '.join(sorted(named))}."
        )
        if unused not in TECHNIQUES:
            near = get_close_matches(unused, TECHNIQUES, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ProjectError(f"{said} {hint}Correct its name, or remove it.")
        say(f"{said} It waits for one.")


def refuse_impossible(trials: Sequence[Trial], cards: Mapping[str, ModelCard]) -> None:
    """ModelError where a base has no tokenizer, or a candidate cannot work on its base or machine:
    before any is tried."""
    for trial in trials:
        trial.refuse(cards[trial.base])
    for card in cards.values():
        if card.remote is not None:
            remote.refuse_unready(card)
            if remote.is_open_to_others(card):
                say(f"{card.name}: its key goes unencrypted to {card.remote.endpoint}")
            continue
        load_tokenizer(card)
        if (network := empty_alike(card)) is not None:
            refuse_looking_ahead(card, network)


def refuse_uncustomized(
    trials: Sequence[Trial],
    cards: Mapping[str, ModelCard],
    prepared: Prepared,
    workspace: Workspace,
) -> None:
    """ProjectError where an evaluation would have to customize first."""
    training = Training.of(prepared.split.training)
    every = [
        each
        for trial in trials
        for each in [trial.seeded(seed) for seed in trial.candidate.seeds] or [trial]
    ]
    lacking = [
        each.name
        for each in every
        if not (each.folder(cards[each.base], training, workspace) / RECORD).is_file()
    ]
    if lacking:
        raise ProjectError(
            f"not customized yet, or changed since: {', '.join(lacking)}. `sartor evaluate` spends "
            f"nothing on training; run `sartor run {quote(str(workspace.project))}` first."
        )
