"""What a run leaves: the decision, the reports, a line of history, the release, and the page.

decision.json  reports/<candidate>.json  history.jsonl  looks.jsonl
candidates/<candidate>.json  releases/  ../report.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import Any

from sartor import __version__
from sartor.data import prepared_files
from sartor.data.files import digest, read_json, to_json, write_json, write_text
from sartor.data.prepare import Prepared
from sartor.errors import ModelError, ProjectError
from sartor.evaluation import history, report
from sartor.evaluation.records import Criteria, Decision, Report
from sartor.project import FILE, ProjectFile
from sartor.serving.release import Release, Releases
from sartor.studio.curves import Curve
from sartor.studio.page import Counts, ReportPage, render
from sartor.trial import Tried
from sartor.workspace import Workspace

PAGE = "report.html"
TOLD_VERSIONS = ("torch", "transformers", "peft", "lancedb", "wordllama")


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    decision: Decision
    reports: tuple[Report, ...]
    page: Path
    """The report, as one HTML file."""
    unchanged: bool
    """Nothing had changed since the last run, so nothing was done."""
    not_tried: tuple[str, ...] = ()
    """Candidates that were passed over, and why."""


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
    workspace: Workspace, file: ProjectFile, prepared: Prepared, tried: Sequence[Tried], made: Made
) -> Outcome:
    """Decide between the candidates tried, and write everything down."""
    from sartor.evaluation.decide import decide, decision_json

    if not tried:
        raise ModelError(f"no candidate could be run: {'; '.join(made.failures)}")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    test = digest([(e.id, e.input, e.targets) for e in prepared.split.test])
    looks = history.look(workspace.root / "looks.jsonl", test, made.key, at)
    reports = tuple(one.test for one in tried)
    _save_reports(workspace, reports)
    too_many = _too_many(looks, file.criteria.max_looks)
    criteria = Criteria(**file.criteria.model_dump(exclude={"max_looks"}))
    seed = file.project.seed
    decision = decide(reports, criteria, seed=seed, refusals=[*made.failures, *too_many])
    told = decision_json(decision, reports)
    told["not_tried"] = [asdict(one) for one in made.not_tried]
    write_json(workspace.decision, told)
    earlier = history.read(workspace.root / "history.jsonl")
    run = _run(workspace, tried, decision, made, earlier, file, (at, test, looks))
    history.add(workspace.root / "history.jsonl", run)
    _release(workspace, tried, decision.winner, digest(told), at)
    page = _page(workspace, file, prepared, reports, run)
    return Outcome(decision, reports, page, unchanged=False, not_tried=run.not_tried)


def kept(workspace: Workspace, file: ProjectFile) -> Outcome:
    """The last run's outcome, from its files; the page is written anew."""
    runs = history.read(workspace.root / "history.jsonl")
    if not runs or not workspace.decision.is_file():
        raise ProjectError(
            f"{workspace.project} has no decision yet. Make one: "
            f"sartor run {quote(str(workspace.project))}"
        )
    read_json(workspace.decision, dict[str, Any])
    names = [entry.candidate for entry in runs[-1].entries]
    reports = tuple(report.load(workspace.reports / f"{name}.json") for name in names)
    prepared = prepared_files.load(workspace.folder("data"))
    page = _page(workspace, file, prepared, reports, runs[-1])
    last = runs[-1]
    return Outcome(last.decision, reports, page, unchanged=True, not_tried=last.not_tried)


def _save_reports(workspace: Workspace, reports: Sequence[Report]) -> None:
    """Those of this run, and no others."""
    paths = {workspace.reports / f"{one.candidate}.json": one for one in reports}
    for path, one in paths.items():
        report.save(one, path)
    for path in workspace.reports.glob("*.json"):
        if path not in paths:
            path.unlink()


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
    measured = one.test.measured
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
        warnings=(*run.failures, *run.not_tried, *prepared.warnings),
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


def _versions() -> dict[str, str]:
    found = {"sartor": __version__}
    for package in TOLD_VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
