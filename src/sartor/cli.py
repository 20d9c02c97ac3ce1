"""The command line: verbs, each one call. People read stderr; programs read stdout (`--json`).

Exit codes: 0 done, 1 a fault of sartor's, 2 a mistake of the user's, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sartor.errors import ProjectError, SartorError

THE_USERS_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
DISK = "Free some space or check the folder's rights, and run again: what was done is kept."
ADVICE = {
    **dict.fromkeys(THE_USERS_DISK, DISK),
    errno.ENAMETOOLONG: "Give a shorter name.",
    errno.ENOTDIR: "A part of that path is a file; give another.",
    errno.ELOOP: "Its links lead in a circle; mend one, or give another path.",
    errno.EISDIR: "That is a folder where a file belongs; move it away.",
}


class Verbs(TyperGroup):
    """The commands; what goes wrong in one is told without a traceback, unless it is our fault."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SartorError as error:
            _tell(f"error: {error}")
            raise SystemExit(2) from error
        except KeyboardInterrupt as error:
            _tell("\nstopped; what was done is kept. The same command goes on from there.")
            raise SystemExit(130) from error
        except OSError as error:
            if error.filename is None and error.errno not in THE_USERS_DISK:
                raise
            advice = ADVICE.get(error.errno or 0, "Check that path, and run again.")
            _tell(f"error: {error.filename or 'a file'}: {error.strerror}. {advice}")
            raise SystemExit(2) from error


def _reachable(path: Any) -> Any:
    """One or several paths as they were given, once it is sure that they can be."""
    for one in path if isinstance(path, list | tuple) else [path] if path else []:
        try:
            one.expanduser().resolve()
        except (RuntimeError, OSError) as error:  # which of them depends on Python's version
            why = getattr(error, "strerror", None) or str(error).rstrip(".")
            raise ProjectError(f"{one}: {why}. Give another path.") from error
    return path


app = typer.Typer(
    cls=Verbs,
    name="sartor",
    help="Customize a language model on evidence: prompt, retrieve or train?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ProjectFolder = Annotated[
    Path, typer.Argument(help="Folder that holds a sartor.toml.", callback=_reachable)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
HERE = Path()
KEY = "SARTOR_API_KEY"


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to make.", callback=_reachable)
    ],
    use_case: Annotated[str | None, typer.Option(help="A starter: ecommerce.")] = None,
    documents: Annotated[
        list[Path] | None,
        typer.Option(help="Folder or file of documents; may be repeated.", callback=_reachable),
    ] = None,
    examples: Annotated[
        list[Path] | None,
        typer.Option(help="JSONL or CSV of examples; may be repeated.", callback=_reachable),
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
    named = _quoted(folder)
    _tell(f"wrote {path}\nnext: sartor check {named}, then sartor run {named}")
    _print(as_json, {"project": str(path)})


@app.command()
def check(folder: ProjectFolder = HERE, as_json: Json = False) -> None:
    """Say what a run would do and what it would take, before anything is spent."""
    from sartor.checkup import check as checked
    from sartor.console import print_checkup
    from sartor.journey import Project

    with _shown():
        found = checked(Project.open(folder))
    print_checkup(found)
    _print(as_json, found.told())
    if found.faults:
        raise typer.Exit(2)


@app.command()
def run(folder: ProjectFolder = HERE, as_json: Json = False) -> None:
    """Collect, prepare, choose, customize, evaluate, decide. Goes on where it was stopped."""
    from sartor.journey import Project

    _run(Project.open(folder), as_json)


@app.command()
def report(folder: ProjectFolder = HERE, as_json: Json = False) -> None:
    """Write the last run's report.html anew, and show its table."""
    from sartor.console import print_outcome
    from sartor.journey import Project, last_decision

    project = Project.open(folder)
    outcome = project.outcome()
    print_outcome(outcome, project.file.cost.currency)
    _print(as_json, {"report": str(outcome.page), "decision": last_decision(project)})


@app.command()
def history(folder: ProjectFolder = HERE, as_json: Json = False) -> None:
    """Show what each change did to quality and cost, on validation, and the looks at the test."""
    from sartor.console import print_history
    from sartor.data.files import to_json
    from sartor.journey import Project

    runs = Project.open(folder).history()
    if runs:
        print_history(runs)
    else:
        _tell(f"{folder} has not been run yet: sartor run {_quoted(folder)}")
    _print(as_json, {"runs": [json.loads(to_json(one)) for one in runs]})


@app.command()
def models(
    max_memory: Annotated[str | None, typer.Option(help="Such as 24GB.")] = None,
    license: Annotated[str | None, typer.Option(help="permissive, or commercial.")] = None,
    context: Annotated[int, typer.Option(help="Tokens that it must read.")] = 0,
    use: Annotated[
        str, typer.Option("--for", help="inference, p-tuning, lora or full: what memory is for.")
    ] = "inference",
    chat: Annotated[bool, typer.Option("--chat", help="With a chat template only.")] = False,
    as_json: Json = False,
) -> None:
    """Show foundation models that fit, and why others do not.

    sartor models --max-memory 24GB --license permissive --context 8000 --for lora
    """
    from dataclasses import asdict

    from sartor.console import print_models
    from sartor.models.catalogue import Wanted, shortlist, size

    room = size(max_memory) if max_memory else None
    found = shortlist(Wanted(room, license, context, use, chat))
    print_models(found, use)
    fit = [{**asdict(model), "memory_bytes": round(model.memory(use))} for model in found.fit]
    left_out = [{"id": model.id, "reasons": list(why)} for model, why in found.left_out]
    _print(as_json, {"models": fit, "left_out": left_out})


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
        return _print(True, asdict(answer))
    _write(answer.text)
    for number, passage in enumerate(answer.passages, 1):
        _tell(f"[{number}] {passage.title or passage.document_id} ({passage.document_id})")
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
    with _shown():
        _tell(f"loading {release.candidate} (release {release.version}, {release.created})")
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


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to make.", callback=_reachable)
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
    named = _quoted(folder)
    _tell(f"serve the winner: sartor serve {named}\nask it once: sartor ask '...' {named}")


def _run(project: Any, as_json: bool) -> None:
    from sartor.console import print_outcome
    from sartor.journey import last_decision
    from sartor.journey import run as go

    with _shown():
        outcome = go(project)
    print_outcome(outcome, project.file.cost.currency)
    _print(as_json, last_decision(project))


def _shown() -> Any:
    """Show progress inside the block."""
    from contextlib import ExitStack

    from sartor.console import reporter
    from sartor.progress import shown_by

    stack, shown = ExitStack(), reporter()
    stack.enter_context(shown)
    stack.enter_context(shown_by(shown))
    return stack


def _tell(message: str) -> None:
    print(message, file=sys.stderr)


def _quoted(folder: Path) -> str:
    """As a shell takes it for one path, and for no option."""
    named = str(folder)
    return shlex.quote(f"./{named}" if named.startswith("-") else named)


def _print(as_json: bool, value: Any) -> None:
    if as_json:
        _write(json.dumps(value, indent=2, ensure_ascii=False))


def _write(text: str) -> None:
    """To standard output, for programs; a pipe that was closed is the caller's own doing."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed once more at exit
        raise SartorError(
            f"standard output cannot be written: {error.strerror}. Send it elsewhere; what this "
            "command did in the project is kept."
        ) from error


def _refuse_undecodable(words: list[str]) -> None:
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:  # Python hands on stray bytes as lone surrogates
            _tell(f"error: the argument {os.fsencode(word)!r} is not UTF-8. Write it in UTF-8.")
            raise SystemExit(2) from None


def main() -> None:
    """Run the command line."""
    _refuse_undecodable(sys.argv[1:])
    app()
