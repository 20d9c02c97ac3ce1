"""Verbs that make a project, run it, and show what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sartor.cli.app import (
    HERE,
    Json,
    Processes,
    ProjectFolder,
    app,
    print_json,
    quoted,
    reachable,
    shown,
    stopped_by_sigterm,
    tell,
)


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to make.", callback=reachable)
    ],
    use_case: Annotated[str | None, typer.Option(help="A starter: ecommerce.")] = None,
    documents: Annotated[
        list[Path] | None,
        typer.Option(help="Folder or file of documents; may be repeated.", callback=reachable),
    ] = None,
    examples: Annotated[
        list[Path] | None,
        typer.Option(help="JSONL or CSV of examples; may be repeated.", callback=reachable),
    ] = None,
    base: Annotated[str, typer.Option(help="thimble, a folder, or a Hugging Face id.")] = "thimble",
    candidates: Annotated[
        str | None, typer.Option(help="What to try, such as zero-shot,rag,lora,rag+lora.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a project.

    sartor init shop --use-case ecommerce

    sartor init support --documents handbook/ --examples questions.jsonl
    """
    from sartor.new_project import create

    chosen = [part.strip() for part in candidates.split(",")] if candidates else None
    path = create(
        folder,
        use_case=use_case,
        documents=documents or (),
        examples=examples or (),
        base=base,
        candidates=[name for name in chosen if name] if chosen else None,
    )
    named = quoted(folder)
    tell(f"wrote {path}\nnext: sartor check {named}, then sartor run {named}")
    print_json(as_json, {"project": str(path)})


@app.command()
def check(folder: ProjectFolder = HERE, processes: Processes = None, as_json: Json = False) -> None:
    """Say what a run would do and what it would take, before anything is spent."""
    from sartor.checkup import check as checked
    from sartor.console.beforehand import print_checkup
    from sartor.journey import Project
    from sartor.techniques import following

    if following.follows():  # the first process says it
        return
    with shown():
        found = checked(Project.open(folder), processes)
    print_checkup(found)
    print_json(as_json, found.told())
    if found.faults:
        raise typer.Exit(2)


@app.command()
def run(folder: ProjectFolder = HERE, as_json: Json = False) -> None:
    """Collect, prepare, choose, customize, evaluate, decide. Goes on where it was stopped."""
    from sartor.journey import Project
    from sartor.techniques import following

    if following.follows():  # one of several that torchrun has started
        return following.follow()
    return _run(Project.open(folder), as_json)


@app.command()
def report(
    folder: ProjectFolder = HERE,
    form: Annotated[str, typer.Option("--format", help="html, md, csv or model-card.")] = "html",
    out: Annotated[Path | None, typer.Option(help="Where to write it.", callback=reachable)] = None,
    as_json: Json = False,
) -> None:
    """Write the last run's report.html anew, or another format of it, and show its table.

    sartor report shop --format model-card --out README.md
    """
    from sartor.console.verdict import print_outcome
    from sartor.journey import Project, last_decision

    project = Project.open(folder)
    outcome = project.outcome()
    written = project.export(outcome, form, out)
    print_outcome(outcome, project.file.cost.currency)
    if written != outcome.page:
        tell(f"{form}: {written}")
    print_json(as_json, {"report": str(written), "decision": last_decision(project)})


@app.command()
def history(folder: ProjectFolder = HERE, as_json: Json = False) -> None:
    """Show what each change did to quality and cost, on validation, and the looks at the test."""
    from sartor.console.verdict import print_history
    from sartor.data.files import to_json
    from sartor.journey import Project

    runs = Project.open(folder).history()
    if runs:
        print_history(runs)
    else:
        tell(f"{folder} has not been run yet: sartor run {quoted(folder)}")
    print_json(as_json, {"runs": [json.loads(to_json(one)) for one in runs]})


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to make.", callback=reachable)
    ] = Path("demo"),
    as_json: Json = False,
) -> None:
    """Make the starter project of a shop, run it and write its report."""
    from sartor.journey import Project
    from sartor.new_project import create
    from sartor.project import FILE

    if not (folder / FILE).exists():
        create(folder, use_case="ecommerce")
    _run(Project.open(folder), as_json)
    named = quoted(folder)
    tell(f"serve the winner: sartor serve {named}\nask it once: sartor ask '...' {named}")


def _run(project: Any, as_json: bool) -> None:
    from sartor.console.verdict import print_outcome
    from sartor.journey import last_decision
    from sartor.journey import run as go

    with stopped_by_sigterm(), shown():
        outcome = go(project)
    print_outcome(outcome, project.file.cost.currency)
    print_json(as_json, last_decision(project))
