"""A run as the history has it: what was tried, what changed since, and what that did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sartor.evaluation import history
from sartor.evaluation.records import Decision, Report
from sartor.examined import Tried
from sartor.project import FILE, ProjectFile
from sartor.workspace import Workspace


@dataclass(frozen=True)
class NotTried:
    """A candidate that was passed over."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} was not tried: {self.why}"


@dataclass(frozen=True)
class Made:
    """What the decision of a run rests on, beside the trials."""

    key: str
    """Digest of everything."""
    data: str
    """Digest of the data."""
    failures: tuple[str, ...]
    not_tried: tuple[NotTried, ...] = ()


def gathered(failures: Sequence[str]) -> list[str]:
    """The failures, what several have in common told once."""
    names = dict[str, list[str]]()
    for failure in failures:
        name, why = failure.split(" failed: ", 1)
        names.setdefault(why, []).append(name)
    return [f"{', '.join(those)} failed: {why}" for why, those in names.items()]


def run_record(
    workspace: Workspace,
    tried: Sequence[Tried],
    decision: Decision,
    made: Made,
    earlier: Sequence[history.Run],
    file: ProjectFile,
    around: tuple[str, str, int],
) -> history.Run:
    """The run as the history has it; a run that was interrupted here keeps its number."""
    at, test, looks = around
    bases = tuple(dict.fromkeys(_base(one) for one in tried))
    again = earlier and earlier[-1].key == made.key
    before = earlier[:-1] if again else earlier
    return history.Run(
        number=len(before) + 1,
        at=at,
        key=made.key,
        data=made.data,
        test=test,
        base=", ".join(bases),
        scorer=decision.criteria.scorer,
        looks=looks,
        decision=decision,
        entries=tuple(
            _entry(workspace, one, decision, before, made, file.project.seed) for one in tried
        ),
        failures=made.failures,
        config=(workspace.project / FILE).read_text("utf-8-sig"),
        currency=file.cost.currency,
        bases=bases,
        not_tried=tuple(str(one) for one in made.not_tried),
    )


def with_tested(
    run: history.Run, kept_at: Mapping[str, str], given: Sequence[Report]
) -> history.Run:
    """The run with where its reports are kept, and with answers that were made elsewhere."""
    entries = [replace(one, tested=kept_at.get(one.candidate, "")) for one in run.entries]
    for one in given:
        cost, where = one.measured.cost_per_answer, kept_at[one.candidate]
        entries.append(
            history.Entry(
                candidate=one.candidate,
                technique=one.measured.technique,
                settings={},
                digest=where,
                notes=(),
                validation=None,
                cost_per_answer=cost,
                training_seconds=0.0,
                report="",
                tested=where,
            )
        )
    return replace(run, entries=tuple(entries))


def _base(one: Tried) -> str:
    card = one.customization.base
    return f"{card.name} {card.revision[:12]}"


def _earlier(runs: Sequence[history.Run], one: Tried) -> tuple[history.Run, history.Entry] | None:
    """The candidate's newest earlier self; its name may have been one without a base then, or with
    one."""
    if found := history.last_of(runs, one.trial.name):
        return found
    plain = one.trial.candidate.name
    for run in reversed(runs):
        for entry in run.entries:
            same = entry.candidate.partition("@")[0] == plain
            if same and (entry.base or run.base) == _base(one):
                return run, entry
    return None


def _entry(
    workspace: Workspace,
    one: Tried,
    decision: Decision,
    before: Sequence[history.Run],
    made: Made,
    seed: int,
) -> history.Entry:
    """The candidate in this run, and what changing it did on validation."""
    criteria, base = decision.criteria, _base(one)
    settings = {**one.trial.settings, "max_new_tokens": one.sampling.max_new_tokens}
    last = _earlier(before, one)
    changed, effect = history.changes(None, {}, True, True), None
    if last:
        run, entry = last
        same_data, same_base = run.data == made.data, (entry.base or run.base) == base
        changed = history.changes(entry, settings, same_data, same_base)
        if changed:
            effect = history.effect(
                workspace.root, entry, one.validation, criteria.scorer, criteria.margin, seed
            )
    measured = (one.test or one.validation).measured
    return history.Entry(
        candidate=one.trial.name,
        technique=measured.technique,
        settings=settings,
        digest=one.customization.digest,
        notes=one.customization.notes,
        validation=one.validation.estimates.get(criteria.scorer),
        cost_per_answer=measured.cost_per_answer,
        training_seconds=measured.training_seconds,
        report=one.validation_file,
        changed=changed,
        effect=effect,
        base=base,
        note=one.validation.notes.get(criteria.scorer, ""),
    )
