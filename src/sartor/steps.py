"""The steps of a run in order: collect, prepare, choose, customize, evaluate, decide.

Each leaves its files under `.sartor/` and is not done again while what it was made from is the
same; a run that was killed goes on where it was. How a step works is its room's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sartor import __version__, candidates, elsewhere, judged_by, outcome, project
from sartor.crossing import bases_of
from sartor.customized import refuse_broken, source_digest
from sartor.data.files import digest, write_text
from sartor.data_step import data_key, prepared_data
from sartor.descent import try_all
from sartor.errors import SartorError
from sartor.evaluation.given import is_given
from sartor.evaluation.lacking import Lacking
from sartor.evaluation.scorer import Scorer
from sartor.models import remote
from sartor.models.devices import at_most
from sartor.models.language_model import ModelCard
from sartor.models.named import Names
from sartor.outcome import Outcome
from sartor.progress import say
from sartor.project import ProjectFile
from sartor.run_record import Made
from sartor.serving.release import Releases, find_candidate
from sartor.techniques import following
from sartor.tracking import tracker
from sartor.trial import Trial
from sartor.workspace import Workspace, complete, is_current, reopen

PRICES = {"input_price", "output_price"}


def run(
    workspace: Workspace, file: ProjectFile, names: Names, *, customize: bool = True
) -> Outcome:
    """Go through all of them; one of several processes helps the first to train.

    Without `customize`, ProjectError where a candidate has not been customized yet.
    """
    if following.follows():
        following.follow()
        return outcome.kept(workspace, file)
    allowed = at_most(file.criteria.max_memory_gb)
    with (
        following.leading(), workspace.locked(), names.in_use(), _tracked(workspace, file), allowed,
    ):  # fmt: skip
        trials = candidates.trials(file)
        scorers, gate = judged_by.scorers(workspace, file, names), judged_by.gate(workspace, file)
        of_data, cards = data_key(workspace.project, file), bases(file, names)
        candidates.refuse_impossible(trials, cards)
        key = _key(workspace, file, names, of_data, cards, scorers, trials)
        key = digest(key, gate.key) if gate else key
        if is_current(workspace.root, key) and (unchanged := _unchanged(workspace, file)):
            write_text(unchanged.page, unchanged.html)
            say("nothing has changed since the last run: nothing to do")
            return unchanged
        reopen(workspace.root)
        prepared = prepared_data(workspace, file, of_data)
        project.refuse_impossible(file, prepared.counts["documents"])
        for trial in trials:
            trial.refuse_data(prepared.split.training, cards[trial.base])
        if not customize:
            candidates.refuse_uncustomized(trials, cards, prepared, workspace)
        lacking = Lacking(file.criteria.scorer)
        found = try_all(file, workspace, trials, cards, prepared, scorers, gate, lacking)
        not_tried = (*candidates.left_out(file), *found.not_tried)
        made = Made(key, of_data, tuple(found.failures), not_tried)
        given = elsewhere.judged(workspace, file, prepared, scorers, lacking)
        decided = outcome.leave(workspace, file, prepared, found.tried, made, given)
        _tell_what_was_paid(cards, file.cost.currency)
        if not found.failures and not lacking.notes:
            complete(workspace.root, key)
        return decided


def bases(file: ProjectFile, names: Names) -> dict[str, ModelCard]:
    """The card of every base, by its name in the project, in the project's order."""
    cards = {name: names.card(name) for name in bases_of(file)}
    sizes = [cards[n].parameters for n in file.model.names if n in cards]
    if file.model.ladder and all(sizes) and sizes != sorted(sizes, reverse=True):
        say(
            "[model] bases is a ladder, and is not in the order of size: gone down as it is written"
        )
    return cards


def _tell_what_was_paid(cards: Mapping[str, ModelCard], currency: str) -> None:
    for name, card in cards.items():
        if card.remote is not None and card.remote.price(1, 1):
            budget = f" of a budget of {card.remote.budget:g}" if card.remote.budget else ""
            say(f"{name}: {remote.paid(card):.4g} {currency} paid so far{budget}")


def _tracked(workspace: Workspace, file: ProjectFile) -> AbstractContextManager[None]:
    """Send figures of training where [tracking] says."""
    folder, wanted = workspace.project, file.tracking.model_dump()
    return tracker.recorded_by(tracker.opened(wanted, folder, file.name_in(folder)))


def _unchanged(workspace: Workspace, file: ProjectFile) -> Outcome | None:
    """The last run's outcome; None where what it left is not whole."""
    try:
        found = outcome.kept(workspace, file)
        ours = [each.candidate for each in found.reports if not is_given(each)]
        if found.decision.winner in ours:
            Releases(workspace.folder("releases")).current()
        for name in ours:
            kept = find_candidate(workspace.folder("candidates"), name)
            refuse_broken(kept.customization, workspace.project)
    except SartorError as error:
        say(f"what the last run left is not whole, and is made again: {error}")
        return None
    return found


def _key(
    workspace: Workspace, file: ProjectFile, names: Names, of_data: str,
    cards: Mapping[str, ModelCard], scorers: Sequence[Scorer], trials: Sequence[Trial],
) -> str:  # fmt: skip
    """Of a remote model what its answers depend on counts, and its prices; not its budget, say."""
    told = file.model_dump(exclude={"data", "project", "remote", "tracking"})
    own: list[Any] = [source_digest(scorer) for scorer in scorers]
    own += elsewhere.taken_in(workspace, file)
    own += [trial.sources() for trial in trials]
    revisions = [card.revision for card in cards.values()]
    revisions += [names.card(name).revision for name in sorted(file.remote)]
    prices = [each.model_dump(include=PRICES) for each in file.remote.values()]
    return digest(__version__, of_data, revisions, prices, told, own)
