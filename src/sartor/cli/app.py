"""What all verbs share: the application, its options, where output goes, and what errors look like.

People read stderr; programs read stdout (`--json`). Exit codes: 0 done, 1 a fault of sartor's, 2 a
mistake of the user's, 130 stopped with Ctrl-C, 143 a run stopped with SIGTERM.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sartor.errors import ProjectError, SartorError

THE_USERS_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)
DISK = "Free some space or check the folder's rights, and run again: what was done is kept."
ADVICE = {
    **dict.fromkeys(THE_USERS_DISK, DISK),
    errno.ENAMETOOLONG: "Give a shorter name.",
    errno.ENOTDIR: "A part of that path is a file; give another.",
    errno.ELOOP: "Its links lead in a circle; mend one, or give another path.",
    errno.EISDIR: "That is a folder where a file belongs; move it away.",
}


ORDER = (
    "init", "models", "estimate", "check", "run", "report", "compare", "evaluate", "history", "ask",
    "serve", "demo",
)  # fmt: skip
"""Of the verbs, in `--help`: as a project goes through them."""


class Terminated(KeyboardInterrupt):
    """Stopped with SIGTERM."""


class Verbs(TyperGroup):
    """The commands; what goes wrong in one is told without a traceback, unless it is our fault."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=ORDER.index)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SartorError as error:
            tell(f"error: {error}")
            raise SystemExit(2) from error
        except KeyboardInterrupt as error:
            tell("\nstopped; what was done is kept. The same command goes on from there.")
            raise SystemExit(143 if isinstance(error, Terminated) else 130) from error
        except OSError as error:
            if error.filename is None and error.errno not in THE_USERS_DISK:
                raise
            advice = ADVICE.get(error.errno or 0, "Check that path, and run again.")
            tell(f"error: {error.filename or 'a file'}: {error.strerror}. {advice}")
            raise SystemExit(2) from error


def reachable(path: Any) -> Any:
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
    Path, typer.Argument(help="Folder that holds a sartor.toml.", callback=reachable)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
Processes = Annotated[
    int | None,
    typer.Option(help="That train together here, as torchrun will start them; else as it has."),
]
HERE = Path()


def shown() -> Any:
    """Show progress inside the block; what is printed there, by a user's own code too, is for
    people: standard output is left to `--json`."""
    from contextlib import ExitStack, redirect_stdout

    from sartor.console.progress import reporter
    from sartor.progress import shown_by

    stack, shown = ExitStack(), reporter()
    stack.enter_context(shown)
    stack.enter_context(shown_by(shown))
    stack.enter_context(redirect_stdout(sys.stderr))
    return stack


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM (of a cluster's queue, a container, a service) stop the block as Ctrl-C does.

    Of several processes that train together it ends each at once: one that waits for another would
    not hear it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or current_thread() is not main_thread():
        yield
        return

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would stop the cleaning up
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def tell(message: str) -> None:
    from sartor.data.cleaning import harmless

    print(harmless(message), file=sys.stderr)


def quoted(folder: Path) -> str:
    """As a shell takes it for one path, and for no option."""
    named = str(folder)
    return shlex.quote(f"./{named}" if named.startswith("-") else named)


def print_json(as_json: bool, value: Any) -> None:
    if as_json:
        write(json.dumps(value, indent=2, ensure_ascii=False))


def write(text: str) -> None:
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
