"""What a run leaves: the decision, the reports, a line of history, the release, and the page.

decision.json  label-next.jsonl  reports/<candidate>.json  history.jsonl  looks.jsonl  tested/
candidates/<candidate>.json  releases/  ../report.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import Any

from sartor import __version__, tested
from sartor.data import prepared_files
from sartor.data.files import digest, read_json, to_json, write_json, write_text
from sartor.data.prepare import Prepared
from sartor.errors import ModelError, ProjectError
from sartor.evaluation import history, report
from sartor.evaluation.decision_file import summary_of
from sartor.evaluation.given import is_given
from sartor.evaluation.label_next import Unlabelled, to_fill
from sartor.evaluation.records import Criteria, Decision, Report
from sartor.evaluation.summary import Summary, summarize
from sartor.evaluation.trust import doubt
from sartor.project import FILE, ProjectFile
from sartor.serving.interactions import read_interactions
from sartor.serving.release import Release, Releases
from sartor.studio.curves import Curve
from sartor.studio.export import Told, exported
from sartor.studio.page import Counts, ReportPage, render
from sartor.trial import Tried
from sartor.workspace import Workspace

PAGE = "report.html"
FORMS = {"html": PAGE, "md": "report.md", "csv": "report.csv", "model-card": "model-card.md"}
"""Of the report, and the file each is written to unless another is named."""
TO_LABEL = "label-next.jsonl"
MOST_REQUESTS = 10_000
"""Of the server's log, the newest, among which the next to label are looked for."""
TOLD_VERSIONS = ("torch", "transformers", "peft", "lancedb", "wordllama")


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    decision: Decision
    reports: tuple[Report, ...]
    page: Path
    """The report, as one HTML file."""
    summary: Summary
    """The verdict in words, and what stands behind it."""
    unchanged: bool
    """Nothing had changed since the last run, so nothing was done."""
    not_tried: tuple[str, ...] = ()
    """Candidates that were passed over, and why."""
    looks: int = 1
    """Runs that were decided on this test part, this one included."""


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


def leave(
    workspace: Workspace, file: ProjectFile, prepared: Prepared, tried: Sequence[Tried], made: Made,
    given: Sequence[Report] = (),
) -> Outcome:  # fmt: skip
    """Decide between the candidates tried and the answers given, and write everything down."""
    from sartor.evaluation.decide import decided, decision_json

    if not tried:
        raise ModelError(f"no candidate could be run: {'; '.join(made.failures)}")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    test = digest([(e.id, e.input, e.targets) for e in prepared.split.test])
    looks = history.look(workspace.root / "looks.jsonl", test, made.key, at)
    reports = (*(one.test for one in tried if one.test), *given)
    kept_at = _save_reports(workspace, reports)
    too_many = _too_many(looks, file.criteria.max_looks)
    criteria = Criteria(**file.criteria.model_dump(exclude={"max_looks"}))
    seed = file.project.seed
    refusals = [*made.failures, *too_many]
    decision, ranking = decided(reports, criteria, seed=seed, refusals=refusals)
    stopped = tuple(one for one in tried if one.stopped)
    rows = tuple(one.stopped for one in stopped if one.stopped)
    decision = replace(decision, comparisons=(*decision.comparisons, *rows))
    unlabelled = _unlabelled(workspace, prepared)
    summary = summarize(
        decision,
        ranking,
        reports,
        file.cost.currency,
        seed,
        unlabelled,
        _labelled_for_one(prepared),
    )
    told = decision_json(decision, (*reports, *(one.validation for one in stopped)), summary)
    told["looks"] = looks
    told["not_tried"] = [asdict(one) for one in made.not_tried]
    write_json(workspace.decision, told)
    _leave_to_label(workspace.root / TO_LABEL, summary)
    earlier = history.read(workspace.root / "history.jsonl")
    run = _run(workspace, tried, decision, made, earlier, file, (at, test, looks))
    run = _with_tested(run, kept_at, given)
    history.add(workspace.root / "history.jsonl", run)
    _release(workspace, tried, decision.winner, digest(told), at)
    page = _page(workspace, file, prepared, reports, run, summary)
    return Outcome(decision, reports, page, summary, False, run.not_tried, looks)


def kept(workspace: Workspace, file: ProjectFile) -> Outcome:
    """The last run's outcome, from its files; the page is written anew."""
    runs = history.read(workspace.root / "history.jsonl")
    if not runs or not workspace.decision.is_file():
        raise ProjectError(
            f"{workspace.project} has no decision yet. Make one: "
            f"sartor run {quote(str(workspace.project))}"
        )
    summary = summary_of(read_json(workspace.decision, dict[str, Any]))
    names = [entry.candidate for entry in runs[-1].entries if entry.tested]
    reports = tuple(report.load(workspace.reports / f"{name}.json") for name in names)
    prepared = prepared_files.load(workspace.folder("data"))
    last = runs[-1]
    page = _page(workspace, file, prepared, reports, last, summary)
    return Outcome(last.decision, reports, page, summary, True, last.not_tried, last.looks)


def _unlabelled(workspace: Workspace, prepared: Prepared) -> Unlabelled:
    """Documents of the project, and what the server was asked, without what is labelled already."""
    training = prepared.split.training
    everything = (*training.train, *training.validation, *prepared.split.test)
    log = read_interactions(workspace.root / "interactions.sqlite")
    requests = tuple((one.id, one.input[-1].content) for one in log if len(one.input) == 1)
    labelled = frozenset(example.input[-1].content for example in everything)
    return Unlabelled(training.documents, requests[-MOST_REQUESTS:], labelled)


def _labelled_for_one(prepared: Prepared) -> float:
    """New examples are divided as those were that there are."""
    counts = prepared.counts
    return sum(counts[part] for part in ("train", "validation", "test")) / counts["test"]


def _leave_to_label(path: Path, summary: Summary) -> None:
    """The rows to fill in; none where all is told."""
    if summary.label_next:
        write_text(path, to_fill(summary.label_next))
    else:
        path.unlink(missing_ok=True)


def write_export(
    outcome: Outcome, project: str, currency: str, form: str, path: Path | None
) -> Path:
    """The report as Markdown, CSV or a model card, beside the page unless said otherwise."""
    told = Told(project, outcome.decision, outcome.reports, outcome.summary, currency)
    if form not in FORMS:
        raise ProjectError(
            f"--format is {form!r}; expected one of {', '.join(FORMS)}. Name one of them."
        )
    if form == "html":
        if path is not None:
            write_text(path, outcome.page.read_text("utf-8"))
        return path or outcome.page
    to = path or outcome.page.with_name(FORMS[form])
    write_text(to, exported(told, form))
    return to


def _save_reports(workspace: Workspace, reports: Sequence[Report]) -> dict[str, str]:
    """Those of this run, and no others; where each is kept beyond the next run."""
    kept_at = {one.candidate: tested.keep(workspace, one) for one in reports}
    paths = {workspace.reports / f"{name}.json": name for name in kept_at}
    for path, name in paths.items():
        tested.copy(workspace, kept_at[name], path)
    for path in workspace.reports.glob("*.json"):
        if path not in paths:
            path.unlink()
    return kept_at


def _with_tested(
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


def _too_many(looks: int, most: int) -> list[str]:
    if looks <= most:
        return []
    return [
        f"this test part was looked at {looks} times, and max_looks is {most}: choosing again and "
        "again on the same examples makes luck look like quality. Collect new test examples"
    ]


def _run(
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


def _release(
    workspace: Workspace,
    tried: Sequence[Tried],
    winner: str | None,
    decision: str,
    at: str,
) -> None:
    """Make the winner what is served; keep how to load every other candidate as well."""
    for one in tried:
        name, recipe = one.trial.name, {**one.trial.recipe, "sampling": asdict(one.sampling)}
        settings = json.loads(to_json(recipe))  # as it is read back, to be compared with that
        write_json(
            workspace.folder("candidates", f"{name}.json"),
            Release(0, name, settings, one.customization, decision, at),
        )
        if name == winner:
            Releases(workspace.folder("releases")).make(name, settings, one.customization, decision)


def _page(
    workspace: Workspace,
    file: ProjectFile,
    prepared: Prepared,
    reports: Sequence[Report],
    run: history.Run,
    summary: Summary,
) -> Path:
    folder, counts = workspace.project, prepared.counts
    bases = dict(base.rsplit(" ", 1) for base in run.bases or (run.base,))
    several = len(bases) > 1
    page = ReportPage(
        project=file.project.name or folder.name,
        base=", ".join(bases),
        created=run.at,
        seed=file.project.seed,
        decision=run.decision,
        reports=tuple(reports),
        counts=Counts(counts["documents"], counts["train"], counts["validation"], counts["test"]),
        looks=run.looks,
        dropped=prepared.dropped,
        warnings=(
            *filter(None, [doubt(reports, run.scorer)]),
            *run.failures,
            *run.not_tried,
            *_on_given(reports),
            *prepared.warnings,
        ),
        personal_data=prepared.personal_data,
        commands=(f"sartor run {quote(folder.name)}", f"sartor serve {quote(folder.name)}"),
        digests={
            "data": run.data,
            "test part": run.test,
            **{f"base {n}" if several else "base": f"{n} {rev}" for n, rev in bases.items()},
            "run": run.key,
        },
        versions=_versions(),
        config_text=run.config,
        currency=run.currency,
        curves=tuple(_curves(workspace, reports)),
        summary=summary,
    )
    write_text(folder / PAGE, render(page))
    return folder / PAGE


def _curves(workspace: Workspace, reports: Sequence[Report]) -> Iterator[Curve]:
    """How each candidate that was trained learned, from the file that training left beside it."""
    from sartor.training.trainable import CURVE, Trained

    for one in reports:
        record = workspace.folder("candidates", f"{one.candidate}.json")
        if not record.is_file():
            continue
        folder = workspace.project / read_json(record, Release).customization.directory
        for path in sorted(folder.rglob(CURVE))[:1]:
            came_to = read_json(path, Trained)
            yield Curve(
                one.candidate, came_to.learning_rate, came_to.steps, came_to.tokens,
                came_to.halvings, came_to.curve,
            )  # fmt: skip


def _on_given(reports: Sequence[Report]) -> list[str]:
    """What cannot be known of answers made elsewhere."""
    names = [one.candidate for one in reports if is_given(one)]
    if not names:
        return []
    return [
        f"{', '.join(names)}: these answers were made elsewhere, where nobody here can see whether "
        "the test examples were learned from. If they were, the score is worth nothing."
    ]


def _versions() -> dict[str, str]:
    found = {"sartor": __version__}
    for package in TOLD_VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
