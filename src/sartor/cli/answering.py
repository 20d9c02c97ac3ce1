"""Verbs that put what was decided to use."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from sartor.cli.app import HERE, Json, ProjectFolder, app, print_json, shown, tell, write

KEY = "SARTOR_API_KEY"


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    folder: ProjectFolder = HERE,
    candidate: Annotated[str | None, typer.Option(help="Any candidate, not the winner.")] = None,
    as_json: Json = False,
) -> None:
    """Ask the winner once.

    sartor ask "How long is the warranty?" shop
    """
    from dataclasses import asdict

    from sartor.journey import Project

    if not question.strip():
        raise typer.BadParameter("the question is empty", param_hint="QUESTION")
    answer = Project.open(folder).ask(question, candidate)
    if as_json:
        return print_json(True, asdict(answer))
    write(answer.text)
    for number, passage in enumerate(answer.passages, 1):
        tell(f"[{number}] {passage.title or passage.document_id} ({passage.document_id})")
    return None


@app.command()
def serve(
    folder: ProjectFolder = HERE,
    host: Annotated[str, typer.Option(help="Beyond this machine, SARTOR_API_KEY must be set.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="0 takes any free one.")] = 8000,
    candidate: Annotated[str | None, typer.Option(help="Any candidate, not the winner.")] = None,
) -> None:
    """Serve the winner behind an OpenAI-compatible interface, until Ctrl-C."""
    from sartor.journey import Project
    from sartor.models.language_model import Sampling
    from sartor.serving.address import listen
    from sartor.serving.server import serve as serve_model

    project = Project.open(folder)
    release = project.release(candidate)
    api_key = os.environ.get(KEY)
    listen(host, port, api_key).close()  # a port in use is known before a model is loaded
    with shown():
        tell(f"loading {release.candidate} (release {release.version}, {release.created})")
        serve_model(
            project.model(candidate),
            project.name,
            host=host,
            port=port,
            api_key=api_key,
            log=project.workspace.root / "interactions.sqlite",
            release=release.version,
            sampling=Sampling(**release.settings["sampling"]),
        )
